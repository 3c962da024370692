"""Bounded waits on what cannot tell us: a guest, another process, an API."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(probe: Callable[[], T], what: str, timeout_s: float = 60, *, each_s: float = 0.1) -> T:
    """The first true answer of `probe`. Raises: AssertionError, with its last answer."""
    ends = time.monotonic() + timeout_s
    while True:
        found = probe()
        if found:
            return found
        assert time.monotonic() < ends, f"{what}: not within {timeout_s:g} s; last: {found!r}"
        time.sleep(each_s)


def seconds_until(probe: Callable[[], object], what: str, timeout_s: float) -> float:
    """How long it took until `probe` was true, asked without a pause."""
    began = time.monotonic()
    until(probe, what, timeout_s, each_s=0.01)
    return time.monotonic() - began
