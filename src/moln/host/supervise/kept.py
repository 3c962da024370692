"""One engine as the supervisor sees it: started, adopted, watched, stopped."""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import signal
import socket
import time
from pathlib import Path

from moln.host.supervise.plan import Engine
from moln.host.supervise.processes import Identity, refuse_new_privileges, send

WAITING, STARTING, SETTING_UP, READY, BACKOFF, STOPPING, STOPPED = (
    "waiting", "starting", "setting up", "ready", "backoff", "stopping", "stopped",
)
PROBE_S = 0.03
STEADY_S = 60.0
LONGEST_PAUSE_S = 30.0


class Kept:
    """state: above. due: when (monotonic) the state must be looked at again, if nothing happens before."""

    def __init__(self, engine: Engine, run: Path, log: Path) -> None:
        self.engine = engine
        self.file = run / f"{engine.name}.pid"
        self.log = log / f"{engine.name}.log"
        self.state = WAITING
        self.identity: Identity | None = None
        self.pidfd: int | None = None
        self.notice: int | None = None         # the end that we read of MOLN_READY_FD's pipe
        self.hooks: list[list[str]] = []
        self.hook: tuple[int, int] | None = None   # pid, pidfd of the command under `after` that runs now
        self.setting_up = ""                     # of which `after` they are: the plan may change meanwhile
        self.failures = 0
        self.starts = 0
        self.began = 0.0
        self.due: float | None = None
        self.reason = ""

    def describe(self) -> dict[str, object]:
        return {
            "name": self.engine.name, "state": self.state, "pid": self.identity.pid if self.identity else None,
            "starts": self.starts, "reason": self.reason,
        }

    def fds(self) -> list[int]:
        return [fd for fd in (self.pidfd, self.notice, self.hook and self.hook[1]) if fd is not None]

    # -- beginning ---------------------------------------------------------------------------------------------------

    def adopt(self) -> None:
        """Take over a process of an earlier supervisor; one that never became ready, or runs another command, ends."""
        found = Identity.read(self.file)
        fd = found.open() if found else None
        if found is None or fd is None:
            return
        self.identity, self.pidfd, self.began = found, fd, time.monotonic()
        if found.digest != self.engine.digest or (self.engine.notify and not found.ready):
            self.stop("adopted process runs another command or never became ready")
        elif found.ready:
            self.state = READY
            if found.setting_up not in ("", self.engine.setting_up):
                self.set_up()
        else:
            self.state, self.due = STARTING, self.began

    def start(self) -> None:
        """Fork and exec. The child writes its own pid file first: no moment is left in which it runs unknown."""
        self.log.parent.mkdir(exist_ok=True)
        out = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        notice, said = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) if self.engine.notify else (None, None)
        pid = os.fork()
        if pid == 0:
            self._exec(out, said)
        os.close(out)
        if said is not None:
            os.close(said)
        self.notice = notice
        self.pidfd = os.pidfd_open(pid)
        self.identity = Identity(pid, 0, "", self.engine.digest)
        self.starts += 1
        self.began = time.monotonic()
        self.state, self.due = STARTING, self.began

    def _exec(self, out: int, said: int | None) -> None:
        try:
            os.setsid()
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            Identity.mine(self.engine.digest).write(self.file)
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            os.dup2(out, 1)
            os.dup2(out, 2)
            env = {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), **self.engine.env}
            if said is not None:
                os.set_inheritable(said, True)
                os.set_blocking(said, True)
                env["MOLN_READY_FD"] = str(said)
            os.chdir(self.engine.cwd)
            if self.engine.user:
                become(self.engine.user)
            os.umask(0o027)
            os.execve(self.engine.argv[0], self.engine.argv, env)
        except BaseException as error:  # nothing may return into the parent's code
            os.write(2, f"cannot start {self.engine.argv[0]}: {error}\n".encode())
        finally:
            os._exit(127)

    # -- what happens to it ------------------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Bring the state up to date with what the file descriptors, the socket and the clock say."""
        if self.pidfd is not None and readable(self.pidfd):
            self._ended(now)
        if self.state == STARTING:
            self._look_ready(now)
        if self.state == SETTING_UP:
            self._look_hook(now)
        if self.state == READY and self.failures and now - self.began > STEADY_S:
            self.failures = 0
        if self.state == STOPPING and self.due is not None and now >= self.due:
            assert self.pidfd is not None
            send(self.pidfd, signal.SIGKILL)
            self.due = None
        if self.state == BACKOFF and self.due is not None and now >= self.due:
            self.state, self.due = WAITING, None

    def _look_ready(self, now: float) -> None:
        ready = self._said_ready()
        if ready:
            self._close_notice()  # its other end is closed now, which poll would report for ever
            self.set_up()
        elif now - self.began > self.engine.ready_s:
            self.stop(f"not ready within {self.engine.ready_s:g} s")
        else:
            self.due = self.began + self.engine.ready_s if self.notice is not None else now + PROBE_S

    def set_up(self) -> None:
        """Run what comes after its start, also of one that runs already."""
        self.hooks, self.setting_up = list(self.engine.after), self.engine.setting_up
        self.state, self.due = SETTING_UP, time.monotonic() + self.engine.ready_s
        self._next_hook()

    def _said_ready(self) -> bool:
        if self.notice is not None:
            with contextlib.suppress(BlockingIOError):
                return bool(os.read(self.notice, 64))
            return False
        if self.engine.ready_socket:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.settimeout(1)
                return probe.connect_ex(self.engine.ready_socket) == 0
        return True

    def _next_hook(self) -> None:
        if not self.hooks:
            self._ready()
            return
        argv = self.hooks.pop(0)
        out = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        env = {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), **self.engine.env}
        pid = os.posix_spawnp(argv[0], argv, env, setsigmask=[], file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, out, 2)])
        os.close(out)
        self.hook = pid, os.pidfd_open(pid)

    def _look_hook(self, now: float) -> None:
        assert self.hook is not None
        pid, fd = self.hook
        if not readable(fd):
            if self.due is not None and now >= self.due:
                send(fd, signal.SIGKILL)
                self._forget_hook()
                self.stop("a command run after the start did not end")
            return
        code = os.waitid(os.P_PIDFD, fd, os.WEXITED)
        self._forget_hook()
        if code is None or code.si_status == 0:
            self._next_hook()
        else:
            self.stop(f"a command run after the start ended with {code.si_status}; see its log")

    def _forget_hook(self) -> None:
        if self.hook:
            os.close(self.hook[1])
            self.hook = None

    def _ready(self) -> None:
        if self.setting_up != self.engine.setting_up:
            self.set_up()
            return
        found = Identity.read(self.file)
        if found is not None:
            self.identity = Identity(found.pid, found.start, found.boot, found.digest, ready=True, setting_up=self.engine.setting_up)
            self.identity.write(self.file)
        self.state, self.due, self.reason = READY, None, ""

    def _ended(self, now: float) -> None:
        stopping, steady = self.state == STOPPING, self.state == READY and now - self.began > STEADY_S
        assert self.pidfd is not None and self.identity is not None
        how = "ended"
        with contextlib.suppress(ChildProcessError):   # adopted: the guardian reaps it
            status = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
            if status is not None:
                how = f"ended with {'signal ' if status.si_code != os.CLD_EXITED else ''}{status.si_status}"
        os.close(self.pidfd)
        self.pidfd = None
        self._close_notice()
        self._forget_hook()
        self.file.unlink(missing_ok=True)
        if not (stopping and self.reason):
            self.reason = how
        self.identity = None
        self.failures = 0 if steady else self.failures + 1
        pause = 0.0 if self.failures <= 1 else min(0.25 * 2 ** (self.failures - 1), LONGEST_PAUSE_S)
        self.state, self.due = BACKOFF, now + pause

    def _close_notice(self) -> None:
        if self.notice is not None:
            os.close(self.notice)
            self.notice = None

    def stop(self, reason: str = "") -> None:
        """Ask it to end; SIGKILL follows after stop_s."""
        self.reason = reason
        if self.pidfd is None:
            self.state, self.due = STOPPED, None
            return
        self._close_notice()
        self._forget_hook()
        send(self.pidfd, getattr(signal, self.engine.stop_signal))
        self.state, self.due = STOPPING, time.monotonic() + self.engine.stop_s


def readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def become(user: str) -> None:
    """Give up root for good: the user's groups, ids, and no way back through set-uid programs."""
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    refuse_new_privileges()
