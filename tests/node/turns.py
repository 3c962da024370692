"""Whose turn it is on this machine, and what tests keep there between runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from moln.host import made

CACHE = Path(os.environ.get("MOLN_TEST_CACHE", "/var/tmp/moln-tests"))
_turns: list[TextIO] = []  # the lock, held by this process; a fixture within a fixture shares it

GUESTS = pytest.mark.xdist_group("guests")
"""Mark of files whose tests take turns: of workers side by side one has all of these. To wait for a turn is to lose time that a test is given."""


@contextlib.contextmanager
def guests_alone() -> Iterator[None]:
    """Emulated guests want the machine for themselves: one test process with guests at a time."""
    worker, test = os.environ.get("PYTEST_XDIST_WORKER"), os.environ.get("PYTEST_CURRENT_TEST", "")
    assert not worker or "@guests" in test, f"{test}: not marked GUESTS, or not run with --dist loadgroup"
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


@contextlib.contextmanager
def shared_stays(folder: Path) -> Iterator[None]:
    """What the clouds of this machine share (users, newer OVS) stays when ours goes: other tests want it, without a network."""
    with made.shared() as record:
        record.homes.append(str(folder))
    try:
        yield
    finally:
        with made.shared() as record:
            record.homes = [h for h in record.homes if h != str(folder)]
