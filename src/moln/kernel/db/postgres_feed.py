"""PostgreSQL's change feed: every process tells its own changes at once, and follows those of all others.

A change is a row of the transaction that made it. Rows become visible out of order, so a process reads again from the oldest transaction
that was still open at its last look (pg_snapshot_xmin), and tells each row once: none is skipped, and none waits for a slow neighbour.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from asyncpg import Connection

from moln.kernel.db.database import Feed

CHANNEL = "moln_changes"
EVERY_S = 0.5  # a notification that is lost costs as much
TOGETHER_S = 0.02  # after a look, in which what is heard waits for the next: many writes a second are told with one look
KEPT_S = 600.0  # how long changes stay; a process that was away for longer forgets all it knew
PURGE_S, PAGE = 30.0, 5000
PAUSE_S = 0.2  # between tries to reach the server again
LOOK_S = 8.0  # for all that is asked at one look; a server that takes longer is lost
SERVER = "SELECT pg_postmaster_start_time()"  # of this server, since it began
RECORD = "INSERT INTO changes (topic, key) SELECT * FROM unnest($1::text[], $2::text[]) RETURNING id, xid::text"
BOUND = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text"
LOOK = f"""SELECT c.id, c.topic, c.key, c.xid::text, pg_snapshot_xmin(pg_current_snapshot())::text
    FROM (SELECT 1) one LEFT JOIN LATERAL (
        SELECT id, topic, key, xid FROM changes WHERE xid >= $1::text::xid8 AND id <> ALL($2::bigint[]) ORDER BY id LIMIT {PAGE}) c ON true"""
PURGE = f"""DELETE FROM changes WHERE id IN (
    SELECT id FROM changes WHERE at < now() - interval '{KEPT_S} s' ORDER BY at LIMIT {PAGE} FOR UPDATE SKIP LOCKED)"""
_log = logging.getLogger("moln.db")


class Tail:
    """Follows the changes of all processes. connect: a connection of its own. silent: called when the server says nothing for too long."""

    def __init__(self, feed: Feed, connect: Callable[[], Awaitable[Connection]], silent: Callable[[], None] = lambda: None):
        self._feed = feed
        self._connect = connect
        self._silent = silent
        self._server: object = None
        self._conn: Connection | None = None
        self._bound = ""  # transactions below this one are over, and all that they changed was told
        self._told: dict[int, int] = {}  # rows at or beyond it that were told, with their transactions
        self._mine: dict[int, int] = {}  # rows of writes that run in this process, which tell them themselves
        self._heard = asyncio.Event()
        self._notify = False
        self._purged = self._looked = 0.0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin at what is there now. Raises: Unavailable."""
        await self._reach()
        assert self._conn is not None
        if not self._bound:
            self._bound = await self._conn.fetchval(BOUND)
            self._feed.looked(time.monotonic())
        await self._once()
        self._task = asyncio.create_task(self._follow(), name="changes")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._drop()

    async def record(self, conn: Connection, changes: list[tuple[str, str]]) -> list[int]:
        """Write changes down in a transaction; the rows' ids."""
        rows = await conn.fetch(RECORD, [topic for topic, _ in changes], [key for _, key in changes])
        mine = {row[0]: int(row[1]) for row in rows}
        self._mine |= mine
        return list(mine)

    def committed(self, ids: list[int], changes: list[tuple[str, str]]) -> None:
        """They are true now: tell them here, and have the others look."""
        self._told |= {id: self._mine.pop(id) for id in ids}
        self._feed.publish(changes, known=True)
        self._notify = True
        self._heard.set()

    def forget(self, ids: list[int]) -> None:
        """They were undone, or nobody knows: those that are seen all the same are told."""
        for id in ids:
            self._mine.pop(id, None)

    async def _reach(self) -> None:
        conn = self._conn = await self._connect()
        await conn.execute("SET synchronous_commit = local")  # what is said here need not outlive the server
        server = await conn.fetchval(SERVER)
        if self._server not in (None, server):
            await self._begin_anew(conn)
        self._server = server
        await conn.add_listener(CHANNEL, lambda *_: self._heard.set())
        conn.add_termination_listener(lambda _: self._heard.set())

    async def _begin_anew(self, conn: Connection) -> None:
        """After a start of the server, or on another one: it may number transactions from below what was seen, as those that left nothing
        behind are not known to it; and others may have used those numbers before this look."""
        self._bound = str(min(int(self._bound), int(await conn.fetchval(BOUND))))
        self._feed.gap()

    async def _drop(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            with contextlib.suppress(Exception):
                await conn.close(timeout=1)

    async def _follow(self) -> None:
        lost = False
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._heard.wait()
            await asyncio.sleep(self._looked + TOGETHER_S - time.monotonic())
            self._heard.clear()
            try:
                async with asyncio.timeout(LOOK_S):
                    if self._conn is None:
                        await self._reach()
                    await self._once()
                lost = False
            except Exception as error:
                if isinstance(error, TimeoutError):
                    self._silent()
                if not lost:
                    _log.warning("the change feed cannot be followed: %r", error)
                lost = True
                await self._drop()
                await asyncio.sleep(PAUSE_S)

    async def _once(self) -> None:
        """Tell others that there is something, and look at what they did."""
        assert self._conn is not None
        self._looked = time.monotonic()
        if self._notify:
            self._notify = False
            await self._conn.execute(f"NOTIFY {CHANNEL}")
        while await self.look() == PAGE:
            pass
        if time.monotonic() - self._purged > PURGE_S:
            self._purged = time.monotonic()
            while await self._conn.execute(PURGE) == f"DELETE {PAGE}":
                pass

    async def look(self) -> int:
        """One page of what was not told yet; how many rows it had."""
        assert self._conn is not None
        began = time.monotonic()
        rows = await self._conn.fetch(LOOK, self._bound, [*self._told, *self._mine])
        fresh = [row for row in rows if row[0] is not None]
        new = [row for row in fresh if row[0] not in self._told and row[0] not in self._mine]
        gone = self._feed.age_s() > KEPT_S / 2
        self._told |= {row[0]: int(row[3]) for row in new}
        if len(fresh) < PAGE:
            self._advance(int(rows[0][4]))
            self._feed.looked(began)
        if gone:
            self._feed.gap()
        self._feed.publish([(row[1], row[2]) for row in new], known=True)
        return len(fresh)

    def _advance(self, bound: int) -> None:
        """Transactions below `bound` were over when this look began: all of theirs is told, and need not be remembered.

        A write of this process whose end is not known here yet holds it back: if its answer is lost, its rows are told when seen.
        """
        bound = min([bound, *self._mine.values()])
        self._bound = str(bound)
        self._told = {id: xid for id, xid in self._told.items() if xid >= bound}
