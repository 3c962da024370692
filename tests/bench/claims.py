"""How many claims a second two processes make on one PostgreSQL, and whether they fill it exactly: `python -m tests.bench.claims`."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
import uuid

import uvloop
from tests.postgres import Server

from moln.kernel.db import Transaction
from moln.kernel.db.postgres import PostgresDatabase
from moln.placement.model.providers import Amounts, Provider
from moln.placement.ops import claims
from moln.placement.ops.audit import check_consumers, check_counters
from moln.placement.store import inventories
from moln.placement.store.tables import providers

PROVIDERS, ROOM, PROCESSES, TOGETHER = 64, 64, 2, 32
NAMES = [str(uuid.UUID(int=n + 1)) for n in range(PROVIDERS)]
LIMIT = 1000.0


async def fill(tx: Transaction) -> None:
    for name in NAMES:
        await tx.insert(providers, Provider(name, name, 0, name, None, 1, 1))
        for kind, per in (("VCPU", 1), ("MEMORY_MB", 512)):
            await inventories.add(tx, name, kind, Amounts(total=ROOM * per), 1)


async def claim(url: str) -> int:
    """Claim until nobody has room; how many there were. What is full is not asked again."""
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
            if await db.write(claims.claim_in, now_us=1, consumer_id=consumer, project_id="p", user_id="u", provider_id=provider,
                              resources={"VCPU": 1, "MEMORY_MB": 512}):  # fmt: skip
                made += 1
            elif provider in open_:
                open_.remove(provider)

    await asyncio.gather(*(one(n * (PROVIDERS // TOGETHER)) for n in range(TOGETHER)))
    await db.close()
    print(made, flush=True)
    return made


async def measure(url: str) -> int:
    """Exit status 1, when it is not exactly full, or too slow."""
    db = PostgresDatabase(url)
    await db.open()
    await db.write(fill)
    command = [sys.executable, "-m", "tests.bench.claims", url]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]  # noqa: ASYNC220 (nothing else runs here)
    for worker in workers:
        assert worker.stdout and worker.stdout.readline() == "ready\n"
    own = resource.getrusage(resource.RUSAGE_CHILDREN)
    before, began = own.ru_utime + own.ru_stime, time.monotonic()
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("go\n")
        worker.stdin.close()
    made = [int(worker.stdout.readline()) for worker in workers if worker.stdout]
    took = time.monotonic() - began
    for worker in workers:
        worker.wait(60)
    wrong = [*await db.read(check_counters), *await db.read(check_consumers)]
    used = [row.used for name in NAMES for row in await inventories.of_provider(db, name) if row.resource_class == "VCPU"]
    await db.close()
    full = sum(made) == PROVIDERS * ROOM and used == [ROOM] * PROVIDERS and not wrong
    rate = sum(made) / took
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    each_ms = 1000 * (spent.ru_utime + spent.ru_stime - before) / sum(made)
    state = "exactly full" if full else f"NOT FULL: {sorted(set(used))} {wrong[:3]}"
    print(
        f"{sum(made)} claims by {PROCESSES} processes ({' and '.join(map(str, made))}) in {took:.2f} s: {rate:.0f}/s, at least {LIMIT:.0f}; {state}"
    )
    print(f"each cost its process {each_ms:.2f} ms of processor time, beside PostgreSQL's own")
    return int(not full or rate < LIMIT)


async def measured(server: Server) -> int:
    return await measure(await server.fresh())


def main() -> int:
    if len(sys.argv) > 1:
        uvloop.run(claim(sys.argv[1]))
        return 0
    server = Server(lasting=True, fsync=True)
    try:
        return uvloop.run(measured(server))
    finally:
        server.remove()


if __name__ == "__main__":
    sys.exit(main())
