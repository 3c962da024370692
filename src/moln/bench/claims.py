"""How many claims a second two processes make on one PostgreSQL: `moln bench --placement`. They fill it, exactly."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass

import uvloop

import moln.app  # noqa: F401  (declares every table, as the database is asked for)
from moln.bench.engines import PostgresServer, ending_with_us, postgres_programs, spawn
from moln.bench.process import cpu_of
from moln.bench.rows import Row
from moln.host.places import PACKAGE_ROOT
from moln.kernel.db import Reader, Transaction
from moln.placement.model.providers import Amounts, Provider
from moln.placement.ops import claims
from moln.placement.ops.audit import check_consumers, check_counters
from moln.placement.store import inventories
from moln.placement.store.tables import providers

PROVIDERS, ROOM, PROCESSES, TOGETHER = 64, 64, 2, 32
NAMES = [str(uuid.UUID(int=n + 1)) for n in range(PROVIDERS)]
ASKED = {"VCPU": 1, "MEMORY_MB": 512}
LIMIT = 1000.0
NAME = f"claims of {PROCESSES} processes on PostgreSQL, to the last"


@dataclass
class Filled:
    """By whom, in how long (s), and what it cost in processor time (s): those who asked, and the server."""

    made: list[int]
    took_s: float
    cpu_s: float
    server_cpu_s: float

    def row(self) -> Row:
        count = sum(self.made)
        note = (
            f"{count} ({' and '.join(map(str, self.made))}), {PROVIDERS} providers exactly full; each {1e6 * self.cpu_s / count:.0f} µs "
            f"of processor time and {1e6 * self.server_cpu_s / count:.0f} µs of PostgreSQL's"
        )
        return Row(NAME, LIMIT, "/s", count / self.took_s, note, least=True)


def measure() -> Row:
    """Raises: RuntimeError, when it is not exactly full."""
    if postgres_programs() is None:
        return Row(NAME, None, "/s", None, "not installed: PostgreSQL")
    server = PostgresServer()
    try:
        return uvloop.run(_measured(server)).row()
    finally:
        server.remove()


async def _measured(server: PostgresServer) -> Filled:
    from moln.kernel.db.postgres import PostgresDatabase

    db = PostgresDatabase(server.create("claims"))
    await db.open()
    await db.write(_fill)
    before = server.cpu_s()
    filled = await asyncio.to_thread(_claimed, db.url)
    filled.server_cpu_s = server.cpu_s() - before
    wrong = [*await db.read(check_counters), *await db.read(check_consumers)]
    used = await _used(db)
    await db.close()
    if wrong or used != [ROOM] * PROVIDERS or sum(filled.made) != PROVIDERS * ROOM:
        raise RuntimeError(f"the providers are not exactly full: {sum(filled.made)} claims, {sorted(set(used))} used, {wrong[:3]}")
    return filled


async def _fill(tx: Transaction) -> None:
    for name in NAMES:
        await tx.insert(providers, Provider(name, name, 0, name, None, 1, 1))
        for kind, per in ASKED.items():
            await inventories.add(tx, name, kind, Amounts(total=ROOM * per), 1)


async def _used(db: Reader) -> list[int]:
    return [row.used for name in NAMES for row in await inventories.of_provider(db, name) if row.resource_class == "VCPU"]


def _claimed(url: str) -> Filled:
    """By processes that begin together."""
    command = [*ending_with_us(), sys.executable, "-m", "moln.bench.claims", url]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE_ROOT), *filter(None, sys.path)])}
    workers = [spawn(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) for _ in range(PROCESSES)]
    for worker in workers:
        if _said(worker) != "ready":
            raise RuntimeError("a process that claims did not begin")
    before, began = [cpu_of(worker.pid) for worker in workers], time.monotonic()
    for worker in workers:
        assert worker.stdin
        worker.stdin.write(b"go\n")
        worker.stdin.flush()
    made = [int(_said(worker)) for worker in workers]
    took = time.monotonic() - began
    spent = sum(cpu_of(worker.pid) for worker in workers) - sum(before)
    for worker in workers:
        worker.communicate(b"done\n", timeout=60)
    return Filled(made, took, spent, 0.0)


def _said(worker: subprocess.Popen[bytes]) -> str:
    assert worker.stdout
    return worker.stdout.readline().decode().strip()


async def _claim(url: str) -> None:
    """Claim until nobody has room, and say how many there were. What is full is not asked again."""
    from moln.kernel.db.postgres import PostgresDatabase

    db = PostgresDatabase(url)
    await db.open()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    open_, made = list(NAMES), 0

    async def one(number: int) -> None:
        nonlocal made
        while open_:
            provider = open_[(number + made) % len(open_)]
            consumer = str(uuid.uuid4())
            if await db.write(claims.claim_in, now_us=1, consumer_id=consumer, project_id="p", user_id="u", provider_id=provider, resources=ASKED):
                made += 1
            elif provider in open_:
                open_.remove(provider)

    await asyncio.gather(*(one(n * (PROVIDERS // TOGETHER)) for n in range(TOGETHER)))
    print(made, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await db.close()


if __name__ == "__main__":
    uvloop.run(_claim(sys.argv[1]))
