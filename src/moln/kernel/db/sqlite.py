"""SQLite: one writer thread that drives writes by send(None) and commits them in groups; reads beside it (WAL)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from moln.kernel.db.database import Feed
from moln.kernel.db.sqlite_errors import is_lost, unavailable
from moln.kernel.db.sqlite_schema import connect, create_schema
from moln.kernel.db.sqlite_transaction import Hook, Reads, SqliteTransaction
from moln.kernel.db.statement import Query
from moln.kernel.errors import Paused, Unavailable
from moln.kernel.metrics import GROUPS, Family, Spread

T = TypeVar("T")
P = ParamSpec("P")
GROUP = 64  # writes in one commit, at most
QUEUE = 4096  # writes waiting, at most
TIDY_ROWS = 2000  # rows written between two checkpoints of the log (WAL)
LONG_LOG = 8192  # pages (4 KiB) of log, beyond which reads hold no view until it begins anew
_log = logging.getLogger("moln.db")


def _drive(coroutine: Awaitable[T]) -> T:
    """Run a coroutine that never really waits."""
    iterator = coroutine.__await__()
    try:
        iterator.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    iterator.close()
    raise RuntimeError("a write may await only its transaction")


async def _nothing(tx: Any) -> None:
    pass


class _Job(NamedTuple):
    fn: Callable[..., Awaitable[Any]]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    future: asyncio.Future[Any]


_Answer = tuple["asyncio.Future[Any]", Any, BaseException | None]


class SqliteDatabase:
    """A database in one file. Only one process at a time writes it (the home's lock sees to that).

    threaded: False writes in turns of the event loop instead, in the same groups: for a simulation that goes the same way each time.
    """

    def __init__(self, path: Path, *, now_us: Callable[[], int] = lambda: time.time_ns() // 1000, hook: Hook | None = None,
                 threaded: bool = True):  # fmt: skip
        self.path = path
        self.feed = Feed()
        self._now_us = now_us
        self._hook = hook
        self._writer = connect(path)
        self._writer.execute("PRAGMA wal_autocheckpoint=0")  # _tidy does it, when nobody waits for an answer
        self.created = create_schema(self._writer)
        self._local = connect(path, read_only=True)
        self._reads = Reads(self._local)
        self._held = False
        self._log_is_long = False
        self._tidied = 0
        self._readers = ThreadPoolExecutor(2, "db-read")
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._jobs: queue.Queue[_Job | None] = queue.Queue(QUEUE)
        self._closed = self._paused = False
        self._commits, self._groups = Spread(), Spread(GROUPS)
        self._thread = threading.Thread(target=self._serve, name="db-write", daemon=True) if threaded else None
        if self._thread:
            self._thread.start()

    async def open(self) -> None:
        """It is, since it was made."""

    async def one(self, query: Query[T], **params: Any) -> T | None:
        if not self._held and not self._log_is_long:
            self._hold()
        try:
            return self._reads.first(query, params)
        except sqlite3.OperationalError as error:
            raise (unavailable(error) if is_lost(error) else error) from None

    async def all(self, query: Query[T], **params: Any) -> list[T]:
        if not self._held and not self._log_is_long:
            self._hold()
        try:
            return self._reads.every(query, params)
        except sqlite3.OperationalError as error:
            raise (unavailable(error) if is_lost(error) else error) from None

    def _hold(self) -> None:
        """Keep one view for the reads up to the next commit: taking and leaving SQLite's lock costs as much as a small read."""
        self._local.execute("BEGIN")
        self._held = True

    def _let_go(self) -> None:
        """See what was committed. Also what lets the log (WAL) be begun anew."""
        if self._held:
            self._held = False
            self._local.execute("ROLLBACK")

    async def read(self, fn: Callable[Concatenate[Any, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, fn, args, kwargs)
        except sqlite3.OperationalError as error:
            raise (unavailable(error) if is_lost(error) else error) from None

    def _read(self, fn: Callable[..., Awaitable[T]], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        try:
            conn = self._idle.get_nowait()
        except queue.Empty:
            conn = connect(self.path, read_only=True)
        conn.execute("BEGIN")
        try:
            return _drive(fn(Reads(conn), *args, **kwargs))
        finally:
            conn.execute("ROLLBACK")
            self._idle.put(conn)

    async def write(self, fn: Callable[Concatenate[Any, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """A caller that is cancelled meanwhile leaves the write to happen: it is all or nothing, never half."""
        if self._paused:
            raise Paused("The cloud's database moves to another server. Try again in some seconds.")
        return await asyncio.shield(self._accept(fn, args, kwargs))

    async def pause(self) -> None:
        """Refuse writes from now on; those that were taken are done when this returns."""
        self._paused = True
        await self.write_paused(_nothing)

    def resume(self) -> None:
        self._paused = False

    async def write_paused(self, fn: Callable[Concatenate[Any, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """A write of whoever made the pause."""
        return await asyncio.shield(self._accept(fn, args, kwargs))

    def _accept(self, fn: Callable[..., Awaitable[T]], args: tuple[Any, ...], kwargs: dict[str, Any]) -> asyncio.Future[T]:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._closed:
            raise Unavailable("The database is closed.")
        try:
            self._jobs.put_nowait(_Job(fn, args, kwargs, future))
        except queue.Full:
            raise Unavailable("The database has too many writes waiting. Try again soon.") from None
        if self._thread is None and self._jobs.qsize() == 1:
            asyncio.get_running_loop().call_soon(self._serve_now)
        return future

    def wait_s(self) -> float:
        """A group of writes takes milliseconds, however many they are."""
        return 0.0

    def families(self) -> list[Family]:
        return [
            Family("moln_database_commit_duration_seconds", "histogram", "Commits of groups of writes.", [({}, self._commits)]),
            Family("moln_database_group_writes", "histogram", "Writes that were committed together.", [({}, self._groups)]),
            Family("moln_database_writes_waiting", "gauge", "Writes in the queue.", [({}, self._jobs.qsize())]),
            Family("moln_database_file_bytes", "gauge", "Size of the database's file.", [({}, self.path.stat().st_size)]),
        ]

    async def close(self) -> None:
        """Finish the writes that wait, then let go of the file."""
        self._closed = True
        loop = asyncio.get_running_loop()
        if self._thread:
            await loop.run_in_executor(None, self._jobs.put, None)
            await loop.run_in_executor(None, self._thread.join, 10)
        self._readers.shutdown()
        while not self._idle.empty():
            self._idle.get_nowait().close()
        self._let_go()
        self._local.close()
        if not (self._thread and self._thread.is_alive()):
            self._writer.close()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            group = [job]
            more = True
            while more and len(group) < GROUP:
                try:
                    following = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    self._jobs.put(None)
                    more = False
                else:
                    group.append(following)
            self._commit(group)
            self._tidy()

    def _serve_now(self) -> None:
        """What waits, committed by the event loop itself."""
        self._commit([job for _ in range(self._jobs.qsize()) if (job := self._jobs.get_nowait()) is not None])
        self._tidy()

    def _commit(self, group: list[_Job]) -> None:
        """One BEGIN and COMMIT around the group, a savepoint around each; answers only after the commit."""
        began = time.monotonic()
        try:
            answers, changes = self._transact(group)
        except BaseException as error:  # whatever it is, this thread goes on and every caller hears of it
            _log.error("a group of %d writes is lost: %r", len(group), error)
            with contextlib.suppress(sqlite3.Error):
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
            answers = [(job.future, None, unavailable(error)) for job in group]
            changes = []
        self._commits.add(time.monotonic() - began)
        self._groups.add(len(group))
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            group[0].future.get_loop().call_soon_threadsafe(self._deliver, answers, changes)

    def _transact(self, group: list[_Job]) -> tuple[list[_Answer], list[tuple[str, str]]]:
        answers: list[_Answer] = []
        changes: list[tuple[str, str]] = []
        conn = self._writer
        conn.execute("BEGIN IMMEDIATE")
        for job in group:
            conn.execute("SAVEPOINT w")
            tx = SqliteTransaction(conn, self._now_us, self._hook)
            try:
                result = _drive(job.fn(tx, *job.args, **job.kwargs))
            except BaseException as error:
                if is_lost(error):
                    raise
                conn.execute("ROLLBACK TO w")
                answers.append((job.future, None, error))
            else:
                answers.append((job.future, result, None))
                changes += tx.changes
            conn.execute("RELEASE w")
        if self._hook:
            self._hook("sql", "COMMIT")
        conn.execute("COMMIT")
        if self._hook:
            self._hook("sql-done", "COMMIT")
        return answers, changes

    def _tidy(self) -> None:
        """Move the log into the database now and then. It begins anew only when no view of it is held: see `_hold`."""
        written = self._writer.total_changes
        if written - self._tidied < TIDY_ROWS:
            return
        self._tidied = written
        try:
            _, pages, _ = self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            _log.warning("the log cannot be moved into the database: %r", error)
        else:
            self._log_is_long = pages > LONG_LOG

    def _deliver(self, answers: list[_Answer], changes: list[tuple[str, str]]) -> None:
        self._let_go()
        if changes:
            self.feed.publish(changes)
        for future, result, error in answers:
            if future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)
