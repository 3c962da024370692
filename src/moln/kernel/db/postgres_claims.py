"""Claims (kernel/work/claims.py) on PostgreSQL: rows of whoever works on what, which count while their owner's own row is renewed.

Both tables are unlogged: a claim costs no write to the disk, and a crash of the server, which empties them, is one of the ways to be lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Sequence

import asyncpg
from asyncpg import Connection

from moln.kernel.db.postgres import PostgresDatabase

LEASE_S, BEAT_S = 9.0, 2.0
BEAT = """INSERT INTO controllers AS mine (id, name, until) VALUES ($1, $2, clock_timestamp() + $3::float8 * interval '1 s')
    ON CONFLICT (id) DO UPDATE SET until = excluded.until WHERE mine.until > clock_timestamp() RETURNING (xmax = 0) AS fresh"""
LIVING = "SELECT id FROM controllers WHERE until > clock_timestamp()"
NAMES = "SELECT name FROM controllers WHERE until > clock_timestamp()"
DEAD = "DELETE FROM controllers WHERE until < clock_timestamp() - interval '60 s'"
ORPHANS = "DELETE FROM work_claims c WHERE NOT EXISTS (SELECT 1 FROM controllers WHERE id = c.owner)"
TAKE = """INSERT INTO work_claims AS held (work, key, owner) SELECT $1, key, $3 FROM (
        SELECT asked.key FROM unnest($2::text[]) WITH ORDINALITY asked (key, place) LEFT JOIN work_claims w ON w.work = $1 AND w.key = asked.key
        LEFT JOIN controllers c ON c.id = w.owner AND c.until > clock_timestamp()
        WHERE c.id IS NULL OR c.id = $3 ORDER BY asked.place LIMIT $4) free
    WHERE EXISTS (SELECT 1 FROM controllers WHERE id = $3 AND until > clock_timestamp()) ORDER BY key
    ON CONFLICT (work, key) DO UPDATE SET owner = excluded.owner WHERE held.owner = excluded.owner
    OR NOT EXISTS (SELECT 1 FROM controllers WHERE id = held.owner AND until > clock_timestamp()) RETURNING key"""
LEAVE = "DELETE FROM work_claims WHERE owner = $1 AND (work, key) IN (SELECT * FROM unnest($2::text[], $3::text[]))"
LEAVE_ALL = "WITH gone AS (DELETE FROM controllers WHERE id = $1) DELETE FROM work_claims WHERE owner = $1"
_log = logging.getLogger("moln.work")


class PostgresClaims:
    """id: of this run of the process. name: for people. lease_s: how long after its last sign of life others take what it held."""

    def __init__(self, db: PostgresDatabase, new_id: Callable[[], str], name: str, lease_s: float = LEASE_S):
        self._db = db
        self._new_id = new_id
        self._name = name
        self._lease_s = lease_s
        self.id = new_id()
        self._held: set[tuple[str, str]] = set()
        self._leaving: set[tuple[str, str]] = set()
        self._turn = asyncio.Lock()  # between what is taken and what is left
        self._until = 0.0  # monotonic seconds: before this, nobody can have taken what is held
        self._others: set[str] | None = None
        self._callbacks: list[Callable[[bool], None]] = []
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._beat()
        self._task = asyncio.create_task(self._live(), name="claims")

    async def take(self, work: str, keys: Sequence[str], most: int) -> dict[str, bool]:
        async with self._turn:
            sure = time.monotonic() < self._until
            mine = dict.fromkeys([key for key in keys if sure and (work, key) in self._held][:most], False)
            wanted, more = [key for key in keys if key not in mine], most - len(mine)
            if wanted and more:
                owner = self.id
                rows = await self._db.plainly(lambda conn: conn.fetch(TAKE, work, wanted, owner, more))
                if owner == self.id:
                    mine |= {row[0]: True for row in rows}
            claims = {(work, key) for key in mine}
            self._held |= claims
            self._leaving -= claims
            return mine

    def leave(self, work: str, key: str) -> None:
        if (work, key) in self._held:
            self._leaving.add((work, key))

    async def pass_on(self, work: str, keys: Collection[str]) -> None:
        await self._db.tell_others([(f"wake.{work}", key) for key in keys])

    def on_change(self, callback: Callable[[bool], None]) -> None:
        self._callbacks.append(callback)

    async def living(self) -> set[str]:
        return {row[0] for row in await self._db.plainly(lambda conn: conn.fetch(NAMES))}

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(Exception):
            await self._db.plainly(lambda conn: conn.execute(LEAVE_ALL, self.id))

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                async with asyncio.timeout(self._lease_s / 2):
                    await self._beat()
            except Exception as error:
                _log.warning("this controller cannot say that it lives: %r", error)
            if time.monotonic() > self._until:
                self._die()

    async def _beat(self) -> None:
        """Say that this process lives, leave what it has left, and see who else does."""
        async with self._turn:
            began = time.monotonic()
            leaving = sorted(self._leaving)
            self._held.difference_update(leaving)  # even if the answer is lost
            beaten, living = await self._db.plainly(lambda conn: self._say(conn, leaving))
            self._leaving.difference_update(leaving)
        if not beaten or (beaten[0]["fresh"] and self._until):  # they took it for dead, or the server forgot everybody
            self._die()
            return
        self._until = began + self._lease_s
        others = {row[0] for row in living} - {self.id}
        if others != self._others:
            self._others = others
            self._tell(False)

    async def _say(self, conn: Connection, leaving: list[tuple[str, str]]) -> tuple[list[asyncpg.Record], list[asyncpg.Record]]:
        beaten = await conn.fetch(BEAT, self.id, self._name, self._lease_s)
        if leaving:
            await conn.execute(LEAVE, self.id, [work for work, _ in leaving], [key for _, key in leaving])
        await conn.execute(DEAD)
        await conn.execute(ORPHANS)
        return beaten, await conn.fetch(LIVING)

    def _die(self) -> None:
        """Be another one from now on: whatever this one held is lost."""
        if self._held:
            _log.warning("this controller was taken for dead: what it worked on is found anew")
        self.id = self._new_id()
        self._held.clear()
        self._leaving.clear()
        self._until, self._others = 0.0, None
        self._tell(True)

    def _tell(self, lost: bool) -> None:
        for callback in self._callbacks:
            callback(lost)
