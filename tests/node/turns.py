"""Whose turn it is on this machine, and what tests keep there between runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

CACHE = Path(os.environ.get("MOLN_TEST_CACHE", "/var/tmp/moln-tests"))
_turns: list[TextIO] = []  # the lock, held by this process; a fixture within a fixture shares it


@contextlib.contextmanager
def guests_alone() -> Iterator[None]:
    """Emulated guests want the machine for themselves: one test process with guests at a time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    if _turns:
        yield
        return
    with open(os.environ.get("MOLN_GUEST_LOCK", str(CACHE / "guests.lock")), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _turns.append(lock)
        try:
            yield
        finally:
            _turns.clear()
