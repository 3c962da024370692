"""Processes by identity: a pid alone is reused, so a pid always comes with the process's start time and the boot."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

PR_SET_NO_NEW_PRIVS = 38
PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """Orphans below this process become its children instead of init's (prctl(2)): somebody then always reaps them."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def refuse_new_privileges() -> None:
    """No set-uid program can raise this process's rights any more (prctl(2))."""
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


@dataclass(frozen=True)
class Identity:
    """One process for ever. digest: of the command that it was started with; ready: it has said that it works. setting_up: of what
    was run after that; empty: an earlier version did not say."""

    pid: int
    start: int
    boot: str
    digest: str
    ready: bool = False
    setting_up: str = ""

    @classmethod
    def mine(cls, digest: str) -> Identity:
        pid = os.getpid()
        return cls(pid, start_time(pid) or 0, boot_id(), digest)

    @classmethod
    def read(cls, path: Path) -> Identity | None:
        """What the file says; None when there is none or it is half a file."""
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        new = path.with_name(f".{path.name}.{os.getpid()}")
        new.write_text(json.dumps(asdict(self)))
        new.replace(path)

    def alive(self) -> bool:
        return self.boot == boot_id() and start_time(self.pid) == self.start

    def open(self) -> int | None:
        """A pidfd, readable once the process has ended; None when it has ended already."""
        try:
            fd = os.pidfd_open(self.pid)
        except OSError:
            return None
        if self.alive():
            return fd
        os.close(fd)
        return None


def send(pidfd: int, number: int) -> None:
    """A signal to the process behind a pidfd, and to no other that has its number by now."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)
