"""PostgreSQL: a pool of connections; a write is one SERIALIZABLE transaction, run again where another one came first (ADR 27)."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import asyncpg
from asyncpg import Connection

from moln.kernel.db import postgres_schema
from moln.kernel.db.database import Feed
from moln.kernel.db.postgres_errors import AGAIN, is_lost, unavailable
from moln.kernel.db.postgres_feed import Tail
from moln.kernel.db.postgres_hosts import Hosts
from moln.kernel.db.postgres_transaction import Hook, Reads
from moln.kernel.db.postgres_writers import TRIES, Writers, begin, roll_back
from moln.kernel.db.statement import Query
from moln.kernel.errors import Unavailable
from moln.kernel.metrics import Family

T = TypeVar("T")
P = ParamSpec("P")
CONNECTIONS = 12  # of a process, at most
CONNECT_S, ACQUIRE_S, STATEMENT_S, IDLE_S, LOCK_S, CLOSE_S = 5, 10, 30, 10, 10, 10
SESSION = {
    "application_name": "moln", "jit": "off", "timezone": "UTC", "enable_seqscan": "off",  # a scan conflicts with every write of a table
    "statement_timeout": f"{STATEMENT_S}s", "lock_timeout": f"{LOCK_S}s", "idle_in_transaction_session_timeout": f"{IDLE_S}s",
    "tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3", "tcp_user_timeout": "10000",
}  # fmt: skip


class PostgresDatabase:
    """A database on a server, for several processes. open() before anything else. created: whether open() made its tables.

    hosts: a file that says where its servers are (postgres_hosts.py), where `url` alone does not.
    """

    def __init__(self, url: str, *, now_us: Callable[[], int] = lambda: time.time_ns() // 1000, hook: Hook | None = None, hosts: Path | None = None):
        self.url = url
        self.hosts = Hosts(url, hosts)
        self.feed = Feed(shared=True)
        self.created = False
        self._hook = hook
        self._pool: asyncpg.Pool | None = None
        self._tail = Tail(self.feed, self.connect, self.hosts.let_go)
        self._writers = Writers(self._connection, self._tail, now_us, hook)
        self._lost = 0
        self._closed = False

    async def connect(self) -> Connection:
        """A connection of one's own. Raises: Unavailable."""
        try:
            return await self.hosts.connect(timeout=CONNECT_S, command_timeout=STATEMENT_S + 5, server_settings=SESSION)
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
            self.url, connect=lambda url, **options: self.hosts.connect(**options), min_size=0, max_size=CONNECTIONS, timeout=CONNECT_S,
            command_timeout=STATEMENT_S + 5, server_settings=SESSION,
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
            return await Reads(conn).one(query, **params)

    async def all(self, query: Query[T], **params: Any) -> list[T]:
        async with self._connection() as conn:
            return await Reads(conn).all(query, **params)

    async def read(self, fn: Callable[Concatenate[Any, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._connection() as conn:
            await begin(conn, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                return await fn(Reads(conn), *args, **kwargs)
            finally:
                await roll_back(conn)

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
        return await asyncio.shield(self._writers.accept(fn, args, kwargs))

    def wait_s(self) -> float:
        return self._writers.wait_s()

    def families(self) -> list[Family]:
        return [
            *self._writers.families(),
            Family("moln_database_lost_total", "counter", "Times that no connection could be had.", [({}, self._lost)]),
            Family("moln_database_feed_age_seconds", "gauge", "How old the last look at the change feed is.", [({}, self.feed.age_s())]),
        ]

    async def close(self) -> None:
        """Finish the writes that were taken, then let go of the server."""
        await self._writers.finish(CLOSE_S)
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
