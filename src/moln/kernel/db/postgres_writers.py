"""Writes on PostgreSQL: each a SERIALIZABLE transaction, some at once, run again where another one came first (ADR 27)."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

import asyncpg
from asyncpg import Connection

from moln.kernel.db.postgres_errors import AGAIN, is_lost, unavailable
from moln.kernel.db.postgres_feed import Tail
from moln.kernel.db.postgres_transaction import Hook, PostgresTransaction
from moln.kernel.errors import Unavailable
from moln.kernel.metrics import Family, Spread

WRITERS = 4  # of a process, at most: more would make each other late
QUEUE = 4096  # writes waiting, at most
TRIES = 40  # of one write, before its caller hears that the database is busy
BEGIN = "BEGIN ISOLATION LEVEL SERIALIZABLE"


class _Job(NamedTuple):
    fn: Callable[..., Awaitable[Any]]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    future: asyncio.Future[Any]

    def answer(self, result: Any, error: BaseException | None = None) -> None:
        """Nothing, when nobody waits any more."""
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class Writers:
    """connection: one of the pool's for a while."""

    def __init__(self, connection: Callable[[], AbstractAsyncContextManager[Connection]], tail: Tail, now_us: Callable[[], int], hook: Hook | None):
        self._connection = connection
        self._tail = tail
        self._now_us = now_us
        self._hook = hook
        self._jobs: deque[_Job] = deque()
        self._one_by_one = asyncio.Lock()
        self._running: set[asyncio.Task[None]] = set()
        self._serving = 0
        self._commits = Spread()
        self._again = 0
        self._turn_s = 0.0  # seconds that a write takes once it is its turn, as of late

    def accept(self, fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...], kwargs: dict[str, Any]) -> asyncio.Future[Any]:
        """What its future becomes, it becomes after the commit. Raises: Unavailable."""
        if len(self._jobs) >= QUEUE:
            raise Unavailable("The database has too many writes waiting. Try again soon.")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._jobs.append(_Job(fn, args, kwargs, future))
        if self._serving < WRITERS:
            self._serving += 1
            # in nobody's name: it does the writes of other requests, too
            task = asyncio.create_task(self._serve(), name="db-write", context=contextvars.Context())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return future

    async def _serve(self) -> None:
        """One write after another, while any waits; those that follow one that worked, on its connection."""
        try:
            while self._jobs:
                job = self._jobs.popleft()
                try:
                    async with self._connection() as conn:
                        await begin(conn)
                        while (following := await self._run(conn, job, last=False)) is not None:
                            job = following
                except AGAIN:
                    await self._run_again(job)
                except BaseException as error:
                    job.answer(None, error)
                    if not isinstance(error, Exception):
                        raise
        finally:
            self._serving -= 1

    async def _run_again(self, job: _Job) -> None:
        """Until it comes first. Those that came too late do not make each other do so."""
        for attempt in range(1, TRIES):
            self._again += 1
            try:
                async with self._one_by_one, self._connection() as conn:
                    await begin(conn)
                    await self._run(conn, job, last=True)
                    return
            except AGAIN:
                await asyncio.sleep(random.uniform(0, min(0.1, 0.002 * 2**attempt)))
            except Exception as error:
                job.answer(None, error)
                return
        job.answer(None, Unavailable("Too many others write the same. Try again soon."))

    async def _run(self, conn: Connection, job: _Job, *, last: bool) -> _Job | None:
        """Do it in the transaction that was begun, and answer. Returns a write that waits, whose transaction is begun (none, if last)."""
        began = time.monotonic()
        tx = PostgresTransaction(conn, self._now_us, self._hook)
        mine: list[int] = []
        try:
            result = await job.fn(tx, *job.args, **job.kwargs)
            if tx.changes:
                mine = await self._tail.record(conn, tx.changes)
            chained = not last and bool(self._jobs)
            await self._commit(conn, "COMMIT AND CHAIN" if chained else "COMMIT")
        except BaseException as error:
            await roll_back(conn)
            self._tail.forget(mine)
            if isinstance(error, asyncpg.InFailedSQLTransactionError):
                raise RuntimeError("a write went on after a statement of it had failed") from error
            raise (unavailable(error) if is_lost(error) else error) from error
        if tx.changes:
            self._tail.committed(mine, tx.changes)
        self._turn_s += 0.05 * (time.monotonic() - began - self._turn_s)
        job.answer(result)
        if chained and self._jobs:
            return self._jobs.popleft()
        if chained:  # another writer took it
            await roll_back(conn)
        return None

    async def _commit(self, conn: Connection, text: str) -> None:
        began = time.monotonic()
        if self._hook:
            self._hook("sql", "COMMIT")
        if await conn.execute(text) != "COMMIT":
            raise RuntimeError("a write went on after a statement of it had failed")
        if self._hook:
            self._hook("sql-done", "COMMIT")
        self._commits.add(time.monotonic() - began)

    def wait_s(self) -> float:
        """As long as those that wait have to take their turns, each as long as one took of late."""
        return len(self._jobs) * self._turn_s / WRITERS

    def families(self) -> list[Family]:
        return [
            Family("moln_database_commit_duration_seconds", "histogram", "Commits of writes.", [({}, self._commits)]),
            Family("moln_database_writes_waiting", "gauge", "Writes in the queue.", [({}, len(self._jobs) + self._serving)]),
            Family("moln_database_writes_again_total", "counter", "Writes run again as another came first.", [({}, self._again)]),
        ]

    async def finish(self, within_s: float) -> None:
        """Wait for the writes that run."""
        if self._running:
            await asyncio.wait(self._running, timeout=within_s)


async def begin(conn: Connection, text: str = BEGIN) -> None:
    """Raises: Unavailable."""
    try:
        await conn.execute(text)
    except Exception as error:
        raise (unavailable(error) if is_lost(error) else error) from error


async def roll_back(conn: Connection) -> None:
    """Undone by the server itself, where the connection is lost."""
    with contextlib.suppress(Exception):  # the pool takes a lost one back by itself, and says so to whoever asks
        if not conn.is_closed():
            await conn.execute("ROLLBACK")
