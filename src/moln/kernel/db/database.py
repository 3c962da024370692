"""What every database does for the areas: reads, writes that are functions, and the change feed."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import msgspec
import sqlalchemy as sa

from moln.kernel.db.statement import Query, Statement, Step
from moln.kernel.errors import Conflict
from moln.kernel.metrics import Family

_log = logging.getLogger("moln.db")
OLDEST_S = 1.0  # how old the last look at other processes' changes may be before caches are not trusted
T = TypeVar("T")
P = ParamSpec("P")


class Duplicate(Conflict):
    """A UNIQUE constraint refused the row. columns: `table.column` names, where the database tells."""

    def __init__(self, message: str, columns: tuple[str, ...] = ()):
        super().__init__(message)
        self.columns = columns


class Reader(Protocol):
    """Reads, alone or inside a transaction: store functions that only read take this."""

    async def one(self, query: Query[T], **params: Any) -> T | None:
        """The only row, or None."""
        ...

    async def all(self, query: Query[T], **params: Any) -> list[T]:
        """Every row; the query itself bounds how many."""
        ...


class Transaction(Reader, Protocol):
    """An open write transaction. A write awaits nothing else, and may run again."""

    async def run(self, statement: Statement, **params: Any) -> int:
        """Rows touched. Raises: Duplicate."""
        ...

    async def several(self, *steps: Step) -> list[int]:
        """Rows touched by each of several statements, in one round trip where there is a server. Raises: Duplicate.

        None of them may read what another one changes, nor touch the same row.
        """
        ...

    async def insert(self, table: sa.Table, row: msgspec.Struct | dict[str, Any], *, if_absent: bool = False) -> bool:
        """Add a row, fields by column name (fields without a column are refused). False: it was there (if_absent)."""
        ...

    async def update(self, table: sa.Table, values: dict[str, Any], **by: Any) -> int:
        """Set `values` in the rows whose columns equal `by`; rows touched."""
        ...

    async def delete(self, table: sa.Table, **by: Any) -> int:
        """Remove the rows whose columns equal `by`; rows touched. A table with history keeps them there for 30 days."""
        ...

    def changed(self, topic: str, key: str = "") -> None:
        """Publish on the change feed, after the commit."""
        ...

    def wake(self, reconciler: str, key: str = "") -> None:
        """Run a reconciler soon, after the commit. A lost wake costs a period, never state."""
        ...


class Feed:
    """The change feed of this process: callbacks by topic, run on the event loop after each commit.

    shared: other processes write too, and what they changed comes a moment later. A cache asks `fresh` before it answers.
    """

    def __init__(self, *, shared: bool = False) -> None:
        self.shared = shared
        self.known = True  # whether what is being published is told to every process
        self._depth = 0  # subscribers publish, too
        self._callbacks: dict[str, list[Callable[[list[str]], None]]] = {}
        self._after_gaps: list[Callable[[], None]] = []
        self._looked = 0.0

    @property
    def fresh(self) -> bool:
        """Whether all that was committed more than OLDEST_S ago is known here."""
        return not self.shared or time.monotonic() - self._looked <= OLDEST_S

    def age_s(self) -> float:
        """How old the last look at what others changed is; 0, where there are no others."""
        return time.monotonic() - self._looked if self.shared else 0.0

    def looked(self, at: float) -> None:
        """All that was committed before `at` (monotonic seconds) was told."""
        self._looked = at

    def on_gap(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call it when changes may have been missed: all that was learnt from the feed is to be learnt anew. Returns how to stop it."""
        self._after_gaps.append(callback)
        return lambda: self._after_gaps.remove(callback)

    def gap(self) -> None:
        """Changes may have been missed."""
        _log.warning("changes of other processes may have been missed: what is kept in memory is read again")
        for callback in list(self._after_gaps):
            callback()

    def subscribe(self, topic: str, callback: Callable[[list[str]], None]) -> Callable[[], None]:
        """Call `callback(keys)` after each commit that changed `topic`. Returns how to stop it, which may be called again."""
        callbacks = self._callbacks.setdefault(topic, [])
        callbacks.append(callback)

        def stop() -> None:
            with contextlib.suppress(ValueError):
                callbacks.remove(callback)

        return stop

    def publish(self, changes: Iterable[tuple[str, str]], *, known: bool = False) -> None:
        """A callback that raises is logged: what was committed stays committed, and its writer gets its answer.

        known: every process is told the same, as it was committed; else only this one knows.
        """
        by_topic: dict[str, dict[str, None]] = {}
        for topic, key in changes:
            by_topic.setdefault(topic, {})[key] = None
        outer = self.known, self._depth
        # What a subscriber makes of what every process is told, all of them make of it.
        self.known = known or not self.shared or (self._depth > 0 and self.known)
        self._depth += 1
        for topic, keys in by_topic.items():
            for callback in list(self._callbacks.get(topic, ())):
                try:
                    callback(list(keys))
                except Exception:
                    _log.exception("a subscriber of %s", topic)
        self.known, self._depth = outer


class Database(Reader, Protocol):
    """A database of the cloud."""

    feed: Feed

    async def open(self) -> None:
        """Be ready for use, its tables made. Raises: Unavailable, Failure."""
        ...

    async def write(self, fn: Callable[Concatenate[Any, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn(tx, …)` in a transaction and commit. Nothing of it happened when it raises. Raises: Unavailable."""
        ...

    async def read(self, fn: Callable[Concatenate[Any, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn(reader, …)` over one consistent view, in a reader thread: for long reads."""
        ...

    def wait_s(self) -> float:
        """Seconds that a write would wait for its turn; 0 where writes wait for nothing that is known beforehand."""
        ...

    def families(self) -> list[Family]:
        """Writes, how many each commit held, and how long commits took."""
        ...

    async def close(self) -> None: ...
