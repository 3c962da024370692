"""The supervisor: one loop over pidfds, readiness pipes and a control socket.

Control protocol (run/supervisor.sock, mode 0600): a JSON line {"do": "status" | "watch" | "stop" | "reload" |
"restart", ...}; answers are JSON lines {"engines": [...], "stopping": bool}. `watch` and `stop` go on answering at
each change. stop takes {"keep": [names]}: engines that stay for the guests' sake.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path

from moln.host.supervise import kept
from moln.host.supervise.guardian import command, lock, say
from moln.host.supervise.kept import Kept
from moln.host.supervise.notify import Init
from moln.host.supervise.plan import Plan
from moln.host.supervise.processes import Identity, become_subreaper

LOG_CHECK_S = 30.0
MOST_CLIENTS = 16
LONGEST_REQUEST = 1 << 16
KEPT_ELSEWHERE = 3  # how it ends, when a guardian of our own keeps the cloud already


class Client:
    """One connection to the control socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.received = b""
        self.watching = False
        connection.setblocking(False)


class Supervisor:
    """run: the directory of pid files, plan and socket. init: who started us, where that is systemd; it is our guardian then."""

    def __init__(self, run: Path, init: Init | None = None) -> None:
        self.run = run
        self.init = init
        self.plan = Plan.read(run / "engines.json")
        self.log = Path(self.plan.log)
        self.kept = {e.name: Kept(e, run, self.log) for e in self.plan.engines}
        self.leaving: dict[str, Kept] = {}       # not in the plan any more, still to end
        self.clients: dict[int, Client] = {}
        self.stopping = False
        self.spared: set[str] = set()
        self.told = ""
        self.logs_due = 0.0
        self.guardian: int | None = None

    def main(self) -> int:
        """Until told to stop. Returns 0 then; everything else is for the guardian to mend."""
        self._watch_guardian()
        self._listen()
        self._wake_by_signals()
        for engine in self.kept.values():
            engine.adopt()
        while not self._turn():
            self._wait()
        self._say_state()
        (self.run / "supervisor.pid").unlink(missing_ok=True)
        (self.run / "supervisor.sock").unlink(missing_ok=True)
        return 0

    # -- the loop ----------------------------------------------------------------------------------------------------

    def _turn(self) -> bool:
        """One look at everything. Returns whether all is over."""
        now = time.monotonic()
        everything = [*self.kept.values(), *self.leaving.values()]
        for engine in everything:
            before = engine.state
            engine.look(now)
            if engine.state == kept.BACKOFF and before != kept.BACKOFF and not self.stopping:
                say(f"{engine.engine.name}: {engine.reason}; again in {(engine.due or now) - now:.2f} s")
        self._reap()
        self.leaving = {n: e for n, e in self.leaving.items() if e.pidfd is not None}
        if self.stopping:
            self._stop_more()
        else:
            self._start_more()
        if now >= self.logs_due:
            self.logs_due = now + LOG_CHECK_S
            for path in self.log.glob("*.log"):
                turn_over(path, self.plan.log_limit)
        self._say_state()
        return self.stopping and all(e.pidfd is None or e.engine.name in self.spared for e in everything)

    def _start_more(self) -> None:
        for engine in self.kept.values():
            wanted = [self.kept[n] for n in engine.engine.needs if n in self.kept]
            may = engine.starts or all(n.state == kept.READY for n in wanted)
            if engine.state == kept.WAITING and may and engine.engine.name not in self.leaving:
                engine.start()
                engine.look(time.monotonic())

    def _stop_more(self) -> None:
        """Those first that nothing still running needs."""
        alive = {n: e for n, e in self.kept.items() if e.pidfd is not None and n not in self.spared}
        needed = {need for e in alive.values() for need in e.engine.needs}
        for name, engine in self.kept.items():
            if name not in alive:
                if name not in self.spared:
                    engine.stop()
            elif engine.state != kept.STOPPING and name not in needed:
                engine.stop("asked to stop")

    def _wait(self) -> None:
        poll = select.poll()
        everything = [*self.kept.values(), *self.leaving.values()]
        fds = [fd for e in everything for fd in e.fds()]
        fds += [self.listener.fileno(), self.signals, *self.clients]
        if self.guardian is not None:
            fds.append(self.guardian)
        for fd in fds:
            poll.register(fd, select.POLLIN)
        dues = [e.due for e in everything if e.due is not None] + [self.logs_due]
        if any(e.state == kept.WAITING for e in everything) and not self.stopping:
            dues.append(time.monotonic() + 1)
        for fd, _ in poll.poll(max(0, min(dues) - time.monotonic()) * 1000 + 1):
            if fd == self.listener.fileno():
                self._accept()
            elif fd == self.signals:
                self._on_signals()
            elif fd == self.guardian:
                self._become_guardian()
            elif fd in self.clients:
                self._receive(self.clients[fd])

    # -- the guardian ------------------------------------------------------------------------------------------------

    def _watch_guardian(self) -> None:
        become_subreaper()
        if self.init is not None:
            Identity.mine("supervisor").write(self.run / "supervisor.pid")
            return
        found = Identity.read(self.run / "guardian.pid")
        self.guardian = found.open() if found else None
        Identity.mine("supervisor").write(self.run / "supervisor.pid")
        if self.guardian is None or (found and os.getppid() != found.pid):
            self._become_guardian()

    def _become_guardian(self) -> None:
        """exec keeps the engines as children; the supervisor that the new guardian starts adopts them."""
        if self.stopping:
            os.close(self.guardian) if self.guardian is not None else None
            self.guardian = None
            return
        say("the guardian is gone; taking its place")
        (self.run / "supervisor.pid").unlink(missing_ok=True)
        argv = command("guard", self.run)
        os.execve(argv[0], argv, os.environ)

    # -- signals and requests ----------------------------------------------------------------------------------------

    def _wake_by_signals(self) -> None:
        self.signals, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, lambda n, frame: None)

    def _on_signals(self) -> None:
        numbers = os.read(self.signals, 512)
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self.stopping = True

    def _reap(self) -> None:
        """Orphans that came to us; children of ours are left to those who wait for them by pidfd."""
        ours = {e.identity.pid for e in [*self.kept.values(), *self.leaving.values()] if e.identity and e.pidfd}
        ours |= {e.hook[0] for e in self.kept.values() if e.hook}
        with contextlib.suppress(ChildProcessError):
            while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if found.si_pid in ours:
                    break
                os.waitpid(found.si_pid, os.WNOHANG)

    def _listen(self) -> None:
        path = self.run / "supervisor.sock"
        path.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        old = os.umask(0o177)
        self.listener.bind(str(path))
        os.umask(old)
        self.listener.listen(8)
        self.listener.setblocking(False)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            connection, _ = self.listener.accept()
            if len(self.clients) >= MOST_CLIENTS:
                connection.close()
            else:
                self.clients[connection.fileno()] = Client(connection)

    def _receive(self, client: Client) -> None:
        try:
            data = client.connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        client.received += data
        if not data or len(client.received) > LONGEST_REQUEST:
            self._drop(client)
        elif b"\n" in client.received:
            line, _, client.received = client.received.partition(b"\n")
            try:
                self._do(client, json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                self._answer(client, {"error": str(error)})

    def _do(self, client: Client, request: dict[str, object]) -> None:
        match request["do"]:
            case "watch":
                client.watching = True
            case "stop":
                client.watching = self.stopping = True
                keep = request.get("keep") or []
                assert isinstance(keep, list)
                self.spared = {str(n) for n in keep}
            case "reload":
                self._reload()
            case "restart":
                self.kept[str(request["engine"])].stop("asked to restart")
        self._answer(client, self._state())

    def _reload(self) -> None:
        """Follow a changed plan: engines whose command changed restart, those that are to be set up otherwise are, those that are gone from
        it end. Those that wait for their next try have it now."""
        self.plan = Plan.read(self.run / "engines.json")
        old, self.kept = self.kept, {}
        for engine in self.plan.engines:
            keeper = old.pop(engine.name, None) or Kept(engine, self.run, self.log)
            changed, otherwise = keeper.engine.digest != engine.digest, keeper.engine.setting_up != engine.setting_up
            keeper.engine = engine
            if changed and keeper.pidfd is not None:
                keeper.stop("its command changed")
            elif otherwise and keeper.state == kept.READY:
                keeper.set_up()
            elif keeper.state == kept.BACKOFF:
                keeper.due, keeper.failures = 0.0, 0     # whoever asks now has perhaps mended it
            self.kept[engine.name] = keeper
        for name, keeper in old.items():
            keeper.stop("not in the plan any more")
            self.leaving[name] = keeper

    # -- answers -----------------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, object]:
        return {"engines": [e.describe() for e in self.kept.values()], "stopping": self.stopping}

    def _say_state(self) -> None:
        state = self._state()
        if self.init is not None:
            self.init.tell([e.state for e in self.kept.values()], stopping=self.stopping)
        text = json.dumps(state)
        if text != self.told:
            self.told = text
            for client in [c for c in self.clients.values() if c.watching]:
                self._answer(client, state)

    def _answer(self, client: Client, answer: dict[str, object]) -> None:
        try:
            client.connection.send(json.dumps(answer).encode() + b"\n")
        except OSError:
            self._drop(client)

    def _drop(self, client: Client) -> None:
        self.clients.pop(client.connection.fileno(), None)
        client.connection.close()


def turn_over(path: Path, limit: int) -> None:
    """Keep the last `limit` bytes beside a fresh file. Its writer appends, so it goes on where we cut."""
    try:
        size = path.stat().st_size
        if size <= limit:
            return
        with path.open("rb") as old, path.with_name(path.name + ".1").open("wb") as kept_part:
            old.seek(max(0, size - limit))
            while block := old.read(1 << 16):
                kept_part.write(block)
        os.truncate(path, 0)
    except OSError as error:
        say(f"cannot turn over {path}: {error}")


def supervise(run: Path, *, unit: bool = False) -> int:
    """unit: systemd started us. Raises: OSError, ValueError, when there is no plan."""
    if unit and lock(run / "guardian.lock") is None:
        say("a guardian that systemd did not start keeps this cloud; run: moln down")
        return KEPT_ELSEWHERE
    if lock(run / "supervisor.lock") is None:
        say("another supervisor runs already")
        return 0
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return Supervisor(run, Init() if unit else None).main()
