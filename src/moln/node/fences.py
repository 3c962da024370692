"""The highest generation seen of each resource, on disk: a delayed command never brings back what a newer one ended."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

KEEP_US = 24 * 3600 * 1_000_000  # no command lives longer (its not-after), so older tombstones protect nothing
SWEEP_EVERY = 1000


class DiskFences:
    """Fences (moln.kernel.link). Written before the command acts; a write that the host's crash loses, lost its guest too."""

    def __init__(self, path: Path, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
            "CREATE TABLE IF NOT EXISTS fence (resource TEXT PRIMARY KEY, highest INTEGER, seen_us INTEGER) WITHOUT ROWID"
        )
        self._admitted = 0

    def admit(self, resource: str, generation: int) -> bool:
        """Whether a command of this generation may act; remembers it, when it is the highest."""
        self._admitted += 1
        if self._admitted % SWEEP_EVERY == 0:
            self._db.execute("DELETE FROM fence WHERE seen_us < ?", (self._now_us() - KEEP_US,))
        changed = self._db.execute(
            "INSERT INTO fence VALUES (:resource, :generation, :now) ON CONFLICT DO UPDATE"
            " SET highest = excluded.highest, seen_us = excluded.seen_us WHERE highest <= excluded.highest",
            {"resource": resource, "generation": generation, "now": self._now_us()},
        )
        return changed.rowcount == 1

    def close(self) -> None:
        self._db.close()
