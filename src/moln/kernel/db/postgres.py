"""PostgreSQL: a pool of connections; a write is one SERIALIZABLE transaction, run again where another one came first (ADR 27)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, Concatenate, ParamSpec, TypeVar

import asyncpg
import msgspec
import sqlalchemy as sa
from asyncpg import Connection

from moln.kernel.db import postgres_schema
from moln.kernel.db.database import Feed
from moln.kernel.db.postgres_errors import AGAIN, failure, is_lost, unavailable
from moln.kernel.db.postgres_feed import Tail
from moln.kernel.db.schema import metadata
from moln.kernel.db.statement import PLAIN, Numbered, Query, Statement, encode, encoder, inserting, updating
from moln.kernel.errors import Unavailable
from moln.kernel.metrics import Family, Spread

T = TypeVar("T")
P = ParamSpec("P")
Hook = Callable[[str, str], None]
CONNECTIONS, WRITERS = 12, 4  # of a process, at most; how many of them write
QUEUE = 4096  # writes waiting, at most
TRIES = 40  # of one write, before its caller hears that the database is busy
CONNECT_S, ACQUIRE_S, STATEMENT_S, IDLE_S, LOCK_S = 5, 10, 30, 10, 10
SESSION = {
    "application_name": "moln", "jit": "off", "timezone": "UTC", "enable_seqscan": "off",  # a scan conflicts with every write of a table
    "statement_timeout": f"{STATEMENT_S}s", "lock_timeout": f"{LOCK_S}s", "idle_in_transaction_session_timeout": f"{IDLE_S}s",
    "tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3", "tcp_user_timeout": "10000",
}  # fmt: skip
_log = logging.getLogger("moln.db")


def _values(numbered: Numbered, params: dict[str, Any]) -> list[Any]:
    """The parameters in the statement's order, as the driver takes them."""
    values = []
    for name in numbered.names:
        value = params[name] if name in params else numbered.fixed.get(name)
        if name in numbered.lists:
            value = [encode(v) for v in value or ()]
        elif type(value) not in PLAIN:
            value = encoder(type(value))(value)
        values.append(value)
    return values


def _touched(status: str) -> int:
    """Rows touched, of `INSERT 0 1`, `UPDATE 3`…"""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


class _Reads:
    """Reads on one connection. hook: called with ("sql", text) before each statement, for fault tests."""

    def __init__(self, conn: Connection, hook: Hook | None = None):
        self._conn = conn
        self._hook = hook

    async def _fetch(self, statement: Statement, params: dict[str, Any]) -> list[asyncpg.Record]:
        numbered = statement.numbered
        return await self._told(numbered.text, self._conn.fetch, _values(numbered, params))

    async def _execute(self, statement: Statement, params: dict[str, Any]) -> int:
        numbered = statement.numbered
        return _touched(await self._told(numbered.text, self._conn.execute, _values(numbered, params)))

    async def _told(self, text: str, call: Callable[..., Awaitable[T]], values: list[Any]) -> T:
        if self._hook:
            self._hook("sql", text)
        try:
            answer = await call(text, *values)
        except Exception as error:
            if (known := failure(error)) is not None:
                raise known from error
            raise
        if self._hook:
            self._hook("sql-done", text)
        return answer

    async def one(self, query: Query[T], **params: Any) -> T | None:
        rows = await self._fetch(query, params)
        return query.decode(rows[0]) if rows else None

    async def all(self, query: Query[T], **params: Any) -> list[T]:
        rows = await self._fetch(query, params)
        return list(map(query.decode, rows))


@cache
def _deleting(name: str, by: tuple[str, ...]) -> tuple[Statement | None, Statement]:
    """(how the rows move to the table's history, None when it has none; how they are deleted)."""
    if not by:
        raise TypeError("delete needs columns to choose rows by")
    table = metadata.tables[name]
    where = [table.c[c] == sa.bindparam(c) for c in by]
    moving = None
    if (history := metadata.tables.get(f"{name}_history")) is not None:
        names = [c.name for c in table.columns if c.name != "rowid"]
        rows = sa.select(*[table.c[n] for n in names], sa.bindparam("_now", type_=sa.BigInteger())).where(*where)
        moving = Statement(sa.insert(history).from_select([*names, "retired_at"], rows).inline())
    return moving, Statement(sa.delete(table).where(*where))


class PostgresTransaction(_Reads):
    """A write in progress."""

    def __init__(self, conn: Connection, now_us: Callable[[], int], hook: Hook | None):
        super().__init__(conn, hook)
        self._now_us = now_us
        self.changes: list[tuple[str, str]] = []

    async def run(self, statement: Statement, **params: Any) -> int:
        return await self._execute(statement, params)

    async def insert(self, table: sa.Table, row: msgspec.Struct | dict[str, Any], *, if_absent: bool = False) -> bool:
        values = dict(row) if isinstance(row, dict) else msgspec.structs.asdict(row)
        return await self._execute(inserting(table, tuple(values), if_absent=if_absent), values) == 1

    async def update(self, table: sa.Table, values: dict[str, Any], **by: Any) -> int:
        params = values | {f"by_{k}": v for k, v in by.items()}
        return await self._execute(updating(table, tuple(values), tuple(by)), params)

    async def delete(self, table: sa.Table, **by: Any) -> int:
        moving, deleting = _deleting(table.name, tuple(by))
        if moving:
            await self._execute(moving, by | {"_now": self._now_us()})
        return await self._execute(deleting, by)

    def changed(self, topic: str, key: str = "") -> None:
        self.changes.append((topic, key))

    def wake(self, reconciler: str, key: str = "") -> None:
        self.changes.append((f"wake.{reconciler}", key))


class PostgresDatabase:
    """A database on a server, for several processes. open() before anything else. created: whether open() made its tables."""

    def __init__(self, url: str, *, now_us: Callable[[], int] = lambda: time.time_ns() // 1000, hook: Hook | None = None):
        self.url = url
        self.feed = Feed(shared=True)
        self.created = False
        self._now_us = now_us
        self._hook = hook
        self._pool: asyncpg.Pool | None = None
        self._tail = Tail(self.feed, self.connect)
        self._turns = asyncio.Semaphore(WRITERS)
        self._one_by_one = asyncio.Lock()
        self._waiting = 0
        self._writes: set[asyncio.Task[Any]] = set()
        self._commits = Spread()
        self._again = self._lost = 0
        self._turn_s = 0.0  # seconds that a write takes once it is its turn, as of late
        self._closed = False

    async def connect(self) -> Connection:
        """A connection of one's own. Raises: Unavailable."""
        try:
            return await asyncpg.connect(self.url, timeout=CONNECT_S, command_timeout=STATEMENT_S + 5, server_settings=SESSION)
        except Exception as error:
            raise (unavailable(error) if is_lost(error) else error) from error

    async def open(self) -> None:
        """Make the tables of an empty database, and follow its changes. Raises: Unavailable, Failure."""
        if self._pool is not None:
            return
        conn = await self.connect()
        try:
            self.created = await postgres_schema.ensure(conn)
        finally:
            await conn.close()
        self._pool = await asyncpg.create_pool(
            self.url, min_size=0, max_size=CONNECTIONS, timeout=CONNECT_S, command_timeout=STATEMENT_S + 5, server_settings=SESSION,
            statement_cache_size=1024, max_cached_statement_lifetime=0, connection_class=_Kept,
        )  # fmt: skip
        await self._tail.start()

    @contextlib.asynccontextmanager
    async def _connection(self) -> Any:
        """One of the pool's for a while. Raises: Unavailable."""
        if self._pool is None or self._closed:
            raise Unavailable("The database is closed.")
        try:
            conn = await self._pool.acquire(timeout=ACQUIRE_S)
        except Exception as error:
            self._lost += is_lost(error)
            raise (unavailable(error) if is_lost(error) else error) from error
        try:
            yield conn
        finally:
            await self._pool.release(conn)

    async def one(self, query: Query[T], **params: Any) -> T | None:
        async with self._connection() as conn:
            return await _Reads(conn).one(query, **params)

    async def all(self, query: Query[T], **params: Any) -> list[T]:
        async with self._connection() as conn:
            return await _Reads(conn).all(query, **params)

    async def read(self, fn: Callable[Concatenate[Any, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._connection() as conn:
            await _begin(conn, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                return await fn(_Reads(conn), *args, **kwargs)
            finally:
                await _roll_back(conn)

    async def plainly(self, fn: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `fn(connection)`, each statement by itself, again where another came first: for what the database's machinery keeps.

        Raises: Unavailable.
        """
        async with self._connection() as conn:
            for _ in range(TRIES):
                try:
                    return await fn(conn)
                except AGAIN:
                    await asyncio.sleep(random.uniform(0, 0.01))
                except Exception as error:
                    raise (unavailable(error) if is_lost(error) else error) from error
        raise Unavailable("Too many others write the same. Try again soon.")

    async def tell_others(self, changes: list[tuple[str, str]]) -> None:
        """Publish on the change feeds of all other processes. Raises: Unavailable."""
        ids = await self.plainly(lambda conn: self._tail.record(conn, changes))
        self._tail.committed(ids, [])

    async def write(self, fn: Callable[Concatenate[Any, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """A caller that is cancelled meanwhile leaves the write to happen: it is all or nothing, never half."""
        if self._closed:
            raise Unavailable("The database is closed.")
        if self._waiting >= QUEUE:
            raise Unavailable("The database has too many writes waiting. Try again soon.")
        task = asyncio.create_task(self._write(fn, args, kwargs))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return await asyncio.shield(task)

    async def _write(self, fn: Callable[..., Awaitable[T]], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        """Once, and again while other writers come first."""
        self._waiting += 1
        try:
            async with self._turns:
                began = time.monotonic()
                result = await self._in_turn(fn, args, kwargs)
                self._turn_s += 0.05 * (time.monotonic() - began - self._turn_s)
                return result
        finally:
            self._waiting -= 1

    async def _in_turn(self, fn: Callable[..., Awaitable[T]], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        with contextlib.suppress(*AGAIN):
            return await self._transact(fn, args, kwargs)
        for attempt in range(1, TRIES):
            self._again += 1
            async with self._one_by_one:  # those that came too late do not make each other do so
                with contextlib.suppress(*AGAIN):
                    return await self._transact(fn, args, kwargs)
            await asyncio.sleep(random.uniform(0, min(0.1, 0.002 * 2**attempt)))
        raise Unavailable("Too many others write the same. Try again soon.")

    async def _transact(self, fn: Callable[..., Awaitable[T]], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        async with self._connection() as conn:
            tx = PostgresTransaction(conn, self._now_us, self._hook)
            await _begin(conn, "BEGIN ISOLATION LEVEL SERIALIZABLE")
            mine: list[int] = []
            try:
                result = await fn(tx, *args, **kwargs)
                if tx.changes:
                    mine = await self._tail.record(conn, tx.changes)
                await self._commit(conn)
            except BaseException as error:
                await _roll_back(conn)
                self._tail.forget(mine)
                if isinstance(error, asyncpg.InFailedSQLTransactionError):
                    raise RuntimeError("a write went on after a statement of it had failed") from error
                raise (unavailable(error) if is_lost(error) else error) from error
            if tx.changes:
                self._tail.committed(mine, tx.changes)
            return result

    async def _commit(self, conn: Connection) -> None:
        began = time.monotonic()
        if self._hook:
            self._hook("sql", "COMMIT")
        if await conn.execute("COMMIT") != "COMMIT":
            raise RuntimeError("a write went on after a statement of it had failed")
        if self._hook:
            self._hook("sql-done", "COMMIT")
        self._commits.add(time.monotonic() - began)

    def wait_s(self) -> float:
        """As long as those that wait have to take their turns, each as long as one took of late."""
        return max(0, self._waiting - WRITERS) * self._turn_s / WRITERS

    def families(self) -> list[Family]:
        return [
            Family("moln_database_commit_duration_seconds", "histogram", "Commits of writes.", [({}, self._commits)]),
            Family("moln_database_writes_waiting", "gauge", "Writes in the queue.", [({}, self._waiting)]),
            Family("moln_database_writes_again_total", "counter", "Writes run again as another came first.", [({}, self._again)]),
            Family("moln_database_lost_total", "counter", "Times that no connection could be had.", [({}, self._lost)]),
            Family("moln_database_feed_age_seconds", "gauge", "How old the last look at the change feed is.", [({}, self.feed.age_s())]),
        ]

    async def close(self) -> None:
        """Finish the writes that run, then let go of the server."""
        if self._writes:
            await asyncio.wait(self._writes, timeout=10)
        self._closed = True
        await self._tail.stop()
        if self._pool is not None:
            try:
                async with asyncio.timeout(5):
                    await self._pool.close()
            except TimeoutError:
                self._pool.terminate()


class _Kept(Connection):  # type: ignore[misc]
    """Nothing of a session is changed by its users: no need to ask the server to undo it each time."""

    def get_reset_query(self) -> str:
        return ""


async def _begin(conn: Connection, text: str) -> None:
    try:
        await conn.execute(text)
    except Exception as error:
        raise (unavailable(error) if is_lost(error) else error) from error


async def _roll_back(conn: Connection) -> None:
    """Undone by the server itself, where the connection is lost."""
    with contextlib.suppress(Exception):  # the pool takes a lost one back by itself, and says so to whoever asks
        if not conn.is_closed():
            await conn.execute("ROLLBACK")
