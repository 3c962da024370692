"""How long writes pause when a cloud of 10,000 servers grows: `python -m tests.bench.growing [SERVERS]`.

The cloud is simulated (nodes with fake drivers), all else is real: the command, the controller's process, a private PostgreSQL with fsync.
Meanwhile a client reads as fast as it is answered, and another one makes networks.
"""

from __future__ import annotations

import asyncio
import collections
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from tests.postgres import Server

NODES, AT_ONCE, PORT = 64, 100, 5473


def moln(home: Path, *args: str) -> str:
    command = ["./moln", *args, "--home", str(home)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


async def sign_in(client: httpx.AsyncClient, home: Path) -> None:
    user = {"name": "admin", "domain": {"id": "default"}, "password": (home / "admin.password").read_text().strip()}
    scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
    client.headers["X-Auth-Token"] = (await client.post("/identity/v3/auth/tokens", json=body)).headers["X-Subject-Token"]


async def post(client: httpx.AsyncClient, path: str, body: Any) -> Any:
    while (answer := await client.post(path, json=body)).status_code in (429, 503):
        await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))
    assert answer.status_code < 300, answer.text
    return answer.json()


async def fill(client: httpx.AsyncClient, servers: int) -> None:
    """Servers, ACTIVE, each with a port."""
    image = (await post(client, "/image/v2/images", {"name": "cirros", "disk_format": "raw", "container_format": "bare"}))["id"]
    await client.put(f"/image/v2/images/{image}/file", content=b"\0" * 4096, headers={"Content-Type": "application/octet-stream"})
    network = (await post(client, "/network/v2.0/networks", {"network": {"name": "net"}}))["network"]["id"]
    await post(client, "/network/v2.0/subnets", {"subnet": {"network_id": network, "cidr": "10.0.0.0/16", "ip_version": 4}})
    flavor = (await post(client, "/compute/v2.1/flavors", {"flavor": {"name": "small", "vcpus": 1, "ram": 64, "disk": 1}}))["flavor"]["id"]
    project = (await client.get("/identity/v3/auth/projects")).json()["projects"][0]["id"]
    wide = dict.fromkeys(("instances", "cores", "ram"), -1)
    await client.put(f"/compute/v2.1/os-quota-sets/{project}", json={"quota_set": wide})
    await client.put(f"/network/v2.0/quotas/{project}", json={"quota": {"port": -1, "network": -1}})
    server = {"name": "vm", "flavorRef": flavor, "imageRef": image, "networks": [{"uuid": network}], "max_count": AT_ONCE, "min_count": AT_ONCE}
    for _ in range(servers // AT_ONCE):
        await post(client, "/compute/v2.1/servers", {"server": server})
    while (await client.get("/compute/v2.1/servers?status=BUILD&limit=1")).json()["servers"]:
        await asyncio.sleep(2)


async def watch(client: httpx.AsyncClient, over: asyncio.Event) -> tuple[list[float], collections.Counter[int], float]:
    """Seconds that each read took; how writes were answered; the longest time without one that was done."""
    took: list[float] = []
    answers: collections.Counter[int] = collections.Counter()
    gap, last = 0.0, time.monotonic()

    async def read() -> None:
        while not over.is_set():
            began = time.monotonic()
            answer = await client.get("/compute/v2.1/servers?limit=20")
            assert answer.status_code == 200, answer.text
            took.append(time.monotonic() - began)

    async def write() -> None:
        nonlocal gap, last
        while not over.is_set():
            answer = await client.post("/network/v2.0/networks", json={"network": {"name": "grown"}})
            answers[answer.status_code] += 1
            if answer.status_code == 201:
                gap, last = max(gap, time.monotonic() - last), time.monotonic()
            await asyncio.sleep(0.02)

    await asyncio.gather(read(), write())
    return took, answers, gap


async def measure(home: Path, servers: int, url: str) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{PORT}", timeout=60) as client:
        await sign_in(client, home)
        await fill(client, servers)
        over = asyncio.Event()
        watching = asyncio.create_task(watch(client, over))
        print(await asyncio.to_thread(moln, home, "grow", "--to", url))
        over.set()
        took, answers, gap = await watching
        took.sort()
        print(f"{len(took)} reads meanwhile, all answered: median {took[len(took) // 2] * 1000:.0f} ms, "
              f"99 % within {took[int(len(took) * 0.99)] * 1000:.0f} ms, the longest {took[-1] * 1000:.0f} ms")  # fmt: skip
        print(f"writes meanwhile: {dict(answers)}; longest time without one: {gap:.2f} s")


def main(servers: int) -> None:
    server = Server(lasting=True, fsync=True)
    with tempfile.TemporaryDirectory(prefix="moln-grow-") as folder:
        home = Path(folder) / "home"
        moln(home, "up", "--simulate", "--nodes", str(NODES), "--port", str(PORT), "--detach")
        try:
            asyncio.run(measure(home, servers, asyncio.run(server.empty())))
        finally:
            moln(home, "down", "--purge")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
