"""A database whose writes are spans: put around the real one when traces are wanted, so that nobody pays for it when they are not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from moln.kernel.db.database import Database
from moln.kernel.tracing import Tracer, noting

T = TypeVar("T")
P = ParamSpec("P")


class TracedDatabase:
    """Everything but `write` is the real one's own method. A write that no trace led to is not told."""

    def __init__(self, db: Database, tracer: Tracer):
        self.real = db
        self._tracer = tracer
        self.feed = db.feed
        self.one, self.all, self.read = db.one, db.all, db.read
        self.open, self.wait_s, self.families, self.close = db.open, db.wait_s, db.families, db.close

    async def write(self, fn: Callable[Concatenate[Any, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """From the queue to the commit."""
        if not self._tracer.inside:
            return await self.real.write(fn, *args, **kwargs)
        name = f"{getattr(fn, '__module__', '').removeprefix('moln.')}.{getattr(fn, '__qualname__', 'write')}"
        with self._tracer.span(f"write {name}", {"code.function.name": name}):
            result: T = await self.real.write(noting(self._tracer, fn), *args, **kwargs)
            return result
