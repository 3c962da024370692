"""Time and identity, so that a simulation can own both."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AT_ONCE = 256  # identities drawn together
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


class Clock:
    """Wall time in µs since 1970 UTC, and a monotonic time in seconds."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    monotonic = staticmethod(time.monotonic)


class Ids:
    """Fresh identities: random, version 4 (RFC 9562). A process of its own needs Ids of its own: they are drawn many at a time.

    A system call for each would hand the interpreter to another thread and wait for it, several times in a request.
    random: so many random bytes; of a seed where a run shall go the same way again.
    """

    def __init__(self, random: Callable[[int], bytes] = os.urandom) -> None:
        self._random = random
        self._drawn: list[str] = []

    def _draw(self) -> str:
        """32 random hex digits; from any thread."""
        try:
            return self._drawn.pop()
        except IndexError:
            text = self._random(16 * AT_ONCE).hex()
            self._drawn.extend(text[at : at + 32] for at in range(32, len(text), 32))
            return text[:32]

    def uuid(self) -> str:
        h = self._draw()
        return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:]}"

    def hex(self) -> str:
        """32 hex digits, as Keystone's ids are."""
        return self.uuid().replace("-", "")


@lru_cache(16384)
def _to_the_second(second: int) -> str:
    """The same few times are shown again and again, and strftime takes longer than all the rest of a row."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def iso(us: int, *, suffix: str = "Z") -> str:
    """`2026-11-22T10:00:00Z`: whole seconds, as Nova and Neutron write times. suffix: "" where the service has none."""
    return _to_the_second(us // 1_000_000) + suffix


def iso_micro(us: int, *, suffix: str = "") -> str:
    """`2026-11-22T10:00:00.000000`: with microseconds, as Cinder and Keystone write times."""
    second, rest = divmod(us, 1_000_000)
    return f"{_to_the_second(second)}.{rest:06d}{suffix}"


def parse_iso(text: str) -> int:
    """µs since 1970 of an ISO 8601 time; one without a zone is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)
