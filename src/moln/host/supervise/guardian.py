"""The guardian: starts the supervisor, starts it again when it dies, and reaps whatever lost its parent.

It is the ancestor of every engine, so that orphans of a dead supervisor come to it and not to an init that may not
reap. When the guardian itself is killed, the supervisor turns into the guardian (exec keeps its children) and starts
a new supervisor: one shape, whoever died.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from moln.host.supervise.processes import Identity, become_subreaper

QUICK_S = 5.0


def lock(path: Path) -> int | None:
    """The lock's file descriptor, held until the process ends; None when another process has it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def command(mode: str, run: Path) -> list[str]:
    return [sys.executable, "-P", "-m", "moln.host.supervise", mode, str(run)]


def say(text: str) -> None:
    print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), text, flush=True)


def guard(run: Path) -> NoReturn:
    """Keep a supervisor until it ends of its own accord (exit 0), then end too."""
    if lock(run / "guardian.lock") is None:
        sys.exit(0)
    become_subreaper()
    Identity.mine("guardian").write(run / "guardian.pid")
    supervisor = 0
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda n, frame: supervisor and os.kill(supervisor, signal.SIGTERM))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    pause = 0.0
    while True:
        time.sleep(pause)
        began = time.monotonic()
        argv = command("run", run)
        supervisor = os.posix_spawn(argv[0], argv, os.environ, setsigdef=[signal.SIGTERM, signal.SIGINT])
        code = reap_until(supervisor)
        if code == 0:
            (run / "guardian.pid").unlink(missing_ok=True)
            sys.exit(0)
        pause = 0.0 if time.monotonic() - began > QUICK_S else min(max(pause * 2, 0.1), 10)
        say(f"supervisor {supervisor} ended with {code}; starting it again in {pause:.1f} s")


def reap_until(pid: int) -> int:
    """Wait for one child, reaping all others on the way. Returns its exit code, negative for a signal."""
    while True:
        ended, status = os.wait()
        if ended == pid:
            return os.waitstatus_to_exitcode(status)
