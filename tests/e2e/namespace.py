"""A network namespace that this process (and all it starts) moves into, and out of again."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator

CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def inside(name: str, *, keep: bool = False) -> Iterator[None]:
    """Stand in the namespace `name`, made here unless it is there. keep: leave it at the end."""
    if not os.path.exists(f"/run/netns/{name}"):
        subprocess.run(["ip", "netns", "add", name], check=True, timeout=20)
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True, timeout=20)
    with open("/proc/thread-self/ns/net") as before, open(f"/run/netns/{name}") as wanted:
        enter(wanted.fileno())
        try:
            yield
        finally:
            enter(before.fileno())
    if not keep:
        subprocess.run(["ip", "netns", "delete", name], check=True, timeout=20)


def enter(fd: int) -> None:
    """setns(2): the calling thread, its later threads and children. Raises: OSError."""
    if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
