"""What a get and a commit cost on both databases: `python -m tests.bench.databases` prints the figures of docs/adr/0027-postgresql.md.

The best of the rounds counts: what else a machine does makes the others longer, and none shorter.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from tests.kernel.boxes import BOXES, BY_ID, SIZE, add
from tests.postgres import Server

from moln.kernel.db import Database, Transaction
from moln.kernel.db.postgres import PostgresDatabase
from moln.kernel.db.sqlite import SqliteDatabase

ROUNDS, GETS, WRITES, TOGETHER = 9, 500, 60, 32


async def best_us(times: int, act: Callable[[], Awaitable[object]]) -> float:
    """µs of one."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        await act()
        best = min(best, (time.perf_counter() - began) / times)
    return best * 1e6


async def grow(tx: Transaction, id: str) -> None:
    size = await tx.one(SIZE, id=id) or 0
    await tx.update(BOXES, {"size": size + 1}, id=id)


async def measure(name: str, db: Database) -> None:
    await db.open()
    await db.write(add, "a")
    ids = iter(range(10**9))

    async def gets() -> None:
        for _ in range(GETS):
            await db.one(BY_ID, id="a")

    async def gets_together() -> None:
        await asyncio.gather(*(db.one(BY_ID, id="a") for _ in range(GETS)))

    async def alone() -> None:
        for _ in range(WRITES):
            await db.write(add, f"x{next(ids)}")

    async def together() -> None:
        for _ in range(WRITES // TOGETHER + 1):
            await asyncio.gather(*(db.write(add, f"x{next(ids)}") for _ in range(TOGETHER)))

    async def same_row() -> None:
        await asyncio.gather(*(db.write(grow, "a") for _ in range(TOGETHER)))

    rows = {
        "get": await best_us(GETS, gets),
        "get, many at once": await best_us(GETS, gets_together),
        "write of a row and a change, alone": await best_us(WRITES, alone),
        f"the same, {TOGETHER} at once": await best_us((WRITES // TOGETHER + 1) * TOGETHER, together),
        f"read and write of one row, {TOGETHER} at once": await best_us(TOGETHER, same_row),
    }
    for what, us in rows.items():
        print(f"{name:28} {what:42} {us:9.0f} µs", flush=True)
    await db.close()


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        await measure("SQLite", SqliteDatabase(Path(folder) / "cloud.db"))
    for name, lasting in (("PostgreSQL, fsync off", False), ("PostgreSQL", True)):
        server = Server(lasting=lasting, fsync=lasting)
        await measure(name, PostgresDatabase(await server.fresh()))
        server.remove()


if __name__ == "__main__":
    uvloop.run(main())
