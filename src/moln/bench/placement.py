"""Placement with 10,000 providers: `moln bench --placement`."""

from __future__ import annotations

import itertools
import random
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import uvloop

from moln.app import compose, load_settings
from moln.bench.load import Wire, cost, request
from moln.bench.process import Measured, apart, folder, measured
from moln.bench.rows import Row
from moln.demo.client import Client
from moln.kernel.db import Transaction
from moln.placement.model.providers import Amounts
from moln.placement.store import inventories
from moln.placement.store.tables import provider_aggregates, provider_traits, providers
from moln.simulation import simulated_links

PROVIDERS, AGGREGATES, ASKED, LIMIT = 10_000, 20, 300, 100
AMOUNTS = {"VCPU": Amounts(total=64, allocation_ratio=4.0), "MEMORY_MB": Amounts(total=262_144), "DISK_GB": Amounts(total=4000)}
TRAITS = ("HW_CPU_X86_AVX2", "HW_CPU_X86_VMX", "COMPUTE_NODE", "COMPUTE_VOLUME_MULTI_ATTACH", "STORAGE_DISK_SSD")
VERSION = "placement 1.39"


def measure(step: Callable[[str], object]) -> list[Row]:
    """All rows. Raises: RuntimeError."""
    with folder("moln-bench-") as home:
        place, log = home / "cloud", home / "log"
        place.mkdir()
        step(f"{PROVIDERS:,} providers with traits and aggregates")
        aggregates = uvloop.run(fill(place))
        with apart(), measured("bare", log=log) as bare, measured("cloud", "--home", str(place), "--nodes", "0", "--no-work", log=log) as cloud:
            password = (place / "admin.password").read_text().strip()
            client = Client(f"http://127.0.0.1:{cloud.port}", user="admin", password=password, project="admin")
            step("allocation candidates")
            rows = _candidates(cloud, client, aggregates)
            step("one provider")
            return [*rows, _provider(cloud, bare, client)]


async def fill(home: Path) -> list[str]:
    """A cloud's database with providers: each in two aggregates, with its traits; half have a disk that is fast. The aggregates' ids."""
    settings = load_settings(home, simulate=True)
    app = compose(home, settings, simulated_links)
    await app.set_up()
    dice = random.Random(1)
    aggregates = [str(uuid.UUID(int=dice.getrandbits(128))) for _ in range(AGGREGATES)]
    for start in range(0, PROVIDERS, 1000):
        await app.cloud.db.write(_add, start, aggregates, dice.getrandbits(32), app.cloud.clock.now_us())
    await app.stop()
    return aggregates


async def _add(tx: Transaction, start: int, aggregates: list[str], seed: int, now: int) -> None:
    dice = random.Random(seed)
    for number in range(start, start + 1000):
        id = str(uuid.UUID(int=dice.getrandbits(128)))
        row = {"id": id, "name": f"host-{number}", "generation": 1, "root_id": id, "parent_id": None, "created_at": now, "updated_at": now}
        await tx.insert(providers, row)
        for name, amounts in AMOUNTS.items():
            await inventories.add(tx, id, name, amounts, now)
        for trait in TRAITS[: 4 + dice.randrange(2)]:
            await tx.insert(provider_traits, {"provider_id": id, "trait": trait})
        for aggregate in dice.sample(aggregates, 2):
            await tx.insert(provider_aggregates, {"provider_id": id, "aggregate_id": aggregate})


def _candidates(cloud: Measured, client: Client, aggregates: list[str]) -> list[Row]:
    names = itertools.cycle(aggregates)
    rows = []
    kinds = {
        "any host": "",
        "traits and an aggregate": "&required=HW_CPU_X86_AVX2,STORAGE_DISK_SSD&member_of=AGGREGATE",
        "what few have": "&required=STORAGE_DISK_SSD,!COMPUTE_NODE",
    }
    wire = Wire(cloud.port)
    try:
        for kind, more in kinds.items():
            took: list[float] = []
            cost_ms: list[float] = []

            def ask(more: str = more) -> bytes:
                query = f"resources=VCPU:2,MEMORY_MB:1024,DISK_GB:10&limit={LIMIT}{more}".replace("AGGREGATE", next(names))
                return request("GET", f"/placement/allocation_candidates?{query}", X_Auth_Token=client._token, OpenStack_API_Version=VERSION)

            wire.send([ask()], 200)  # the first of all reads every provider
            for _ in range(ASKED):
                asked, before = ask(), cloud.cpu_s()
                began = time.perf_counter()
                wire.send([asked], 200)
                took.append(1000 * (time.perf_counter() - began))
                cost_ms.append(1000 * (cloud.cpu_s() - before))
            p99 = sorted(took)[int(ASKED * 0.99)]
            note = f"median {sorted(took)[ASKED // 2]:.1f} ms; of processor time {sorted(cost_ms)[ASKED // 2]:.1f} ms, p99 {sorted(cost_ms)[int(ASKED * 0.99)]:.1f} ms"
            rows.append(Row(f"candidates among {PROVIDERS:,} providers, {kind}: p99", 10, "ms", p99, note))
    finally:
        wire.close()
    return rows


def _provider(cloud: Measured, bare: Measured, client: Client) -> Row:
    found = client.call("GET", "/placement/resource_providers?name=host-77")["resource_providers"][0]["uuid"]
    asked = request("GET", f"/placement/resource_providers/{found}", X_Auth_Token=client._token, OpenStack_API_Version=VERSION)
    took = cost(cloud, bare, lambda: asked, count=400)
    return Row("GET one provider", 3, "x", took.ratio, f"{took.cpu_us:.0f} µs to {took.bare_us:.0f} µs; {took.size:,} bytes")
