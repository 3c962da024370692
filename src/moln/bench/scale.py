"""What must not grow with the cloud: a rule among 10,000 ports, a host among 10,000."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop

from moln.app import App, compose, load_settings
from moln.bench.rows import Row
from moln.compute.model.scheduling import Host, Wanted
from moln.compute.ops import scheduling
from moln.kernel.cloud import Cloud
from moln.simulation import simulated_links, start_nodes

PORTS, HOSTS, PICKS, RULES = 10_000, 10_000, 2000, 5
SCHEMAS = Path("/usr/share/ovn")


def measure(home: Path) -> list[Row]:
    """Both rows. home: a folder for the cloud made for it."""
    folder = home / "scale"
    folder.mkdir()
    with _databases(folder) as ovn:
        return uvloop.run(_measure(folder, ovn))


@contextlib.contextmanager
def _databases(folder: Path) -> Iterator[dict[str, str] | None]:
    """OVN's databases alone, on private sockets; None where they are not installed."""
    if not (shutil.which("ovsdb-server") and (SCHEMAS / "ovn-nb.ovsschema").exists()):
        yield None
        return
    running = []
    try:
        for name in ("nb", "sb"):
            subprocess.run(["ovsdb-tool", "create", folder / f"{name}.db", SCHEMAS / f"ovn-{name}.ovsschema"], check=True, timeout=30)
            command = ["ovsdb-server", f"--remote=punix:{folder}/{name}.sock", f"--unixctl={folder}/{name}.ctl", "-vconsole:off",
                       folder / f"{name}.db"]  # fmt: skip
            running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        deadline = time.monotonic() + 30
        while not all((folder / f"{name}.sock").exists() for name in ("nb", "sb")):
            if time.monotonic() > deadline:
                raise RuntimeError("ovsdb-server does not begin")
            time.sleep(0.02)
        for name in ("nb", "sb"):
            subprocess.run([f"ovn-{name}ctl", "--timeout=20", f"--db=unix:{folder}/{name}.sock", "init"], check=True, timeout=30)
        yield {"northbound": f"unix:{folder}/nb.sock", "southbound": f"unix:{folder}/sb.sock"}
    finally:
        for process in running:
            process.terminate()
            process.wait(15)


async def _measure(folder: Path, ovn: dict[str, str] | None) -> list[Row]:
    settings = load_settings(folder, simulate=None if ovn else True, network=ovn)
    app = compose(folder, settings, simulated_links)
    await app.start()
    await start_nodes(app.cloud, 1)
    try:
        return [await _rule(app, "OVN's northbound database" if ovn else "no OVN here: the fake engine"), _pick(app)]
    finally:
        await app.stop()


class _Caller:
    """Requests to the application without a socket, as its own administrator."""

    def __init__(self, app: App):
        self._app = app
        self._token = ""

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        raw = json.dumps(body).encode() if body is not None else b""
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(raw)).encode())]
        if self._token:
            headers.append((b"x-auth-token", self._token.encode()))
        path, _, query = path.partition("?")
        scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method, "path": path,
                 "raw_path": path.encode(), "query_string": query.encode(), "root_path": "", "scheme": "http", "headers": headers,
                 "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1)}  # fmt: skip
        said: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": raw, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            said.append(message)

        await self._app.asgi(scope, receive, send)
        content = b"".join(m.get("body", b"") for m in said[1:])
        if said[0]["status"] >= 400:
            raise RuntimeError(f"{method} {path} answered {said[0]['status']}: {content[:500].decode(errors='replace')}")
        self.headers = dict(said[0]["headers"])
        return json.loads(content) if content else None

    async def sign_in(self, password: str) -> None:
        who = {"methods": ["password"], "password": {"user": {"name": "admin", "domain": {"id": "default"}, "password": password}}}
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        await self.call("POST", "/identity/v3/auth/tokens", {"auth": {"identity": who, "scope": scope}})
        self._token = self.headers[b"x-subject-token"].decode()


async def _rule(app: App, engine_name: str) -> Row:
    caller = _Caller(app)
    await caller.sign_in((app.cloud.home / "admin.password").read_text().strip())
    project = (await caller.call("GET", "/identity/v3/auth/projects"))["projects"][0]["id"]
    await caller.call("PUT", f"/network/v2.0/quotas/{project}", {"quota": {"port": -1, "security_group_rule": -1}})
    network = (await caller.call("POST", "/network/v2.0/networks", {"network": {"name": "large"}}))["network"]["id"]
    subnet = {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/16"}
    await caller.call("POST", "/network/v2.0/subnets", {"subnet": subnet})
    for _ in range(PORTS // 100):
        await caller.call("POST", "/network/v2.0/ports", {"ports": [{"network_id": network}] * 100})
    groups = (await caller.call("GET", f"/network/v2.0/security-groups?project_id={project}"))["security_groups"]
    engine = app.cloud.areas["network"]
    await _until(engine, lambda: not (engine.changed or engine.whole), 300)
    took = [await _time_one(caller, engine, groups[0]["id"], 1000 + n) for n in range(RULES)]
    return Row(f"one security group rule among {PORTS:,} ports", 1, "s", statistics.median(took), f"API to {engine_name}")


async def _time_one(caller: _Caller, engine: Any, group: str, port: int) -> float:
    """Seconds from the request to the end of the engine's transaction."""
    rule = {"security_group_id": group, "direction": "ingress", "protocol": "tcp", "port_range_min": port, "port_range_max": port}
    applied = engine.driver.apply
    done = asyncio.Event()

    async def watched(desired: Any) -> Any:
        found = await applied(desired)
        if found.written:
            done.set()
        return found

    engine.driver.apply = watched
    try:
        began = time.monotonic()
        await caller.call("POST", "/network/v2.0/security-group-rules", {"security_group_rule": rule})
        await asyncio.wait_for(done.wait(), 60)
        return time.monotonic() - began
    finally:
        engine.driver.apply = applied


async def _until(engine: Any, condition: Any, limit_s: float) -> None:
    """Wait until the engine has nothing more to write."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError("the engine does not come to rest")
        await asyncio.sleep(0.2)
    await asyncio.sleep(1)


def _pick(app: App) -> Row:
    cloud = app.cloud
    add_hosts(cloud)
    wanted = Wanted(vcpus=2, ram_mib=4096, disk_gib=20)
    found = []
    for _ in range(20):
        began = time.thread_time()
        for _ in range(PICKS // 20):
            scheduling.pick(cloud, wanted)
        found.append((time.thread_time() - began) / (PICKS // 20) * 1e6)
    return Row(f"pick a host among {HOSTS:,}", 50, "µs", min(found), "`moln explain` says why, on demand")


def pick_times(folder: Path) -> list[float]:
    """Seconds that each of many picks took among 10,000 hosts, in a cloud made for it in `folder`."""

    async def measured() -> list[float]:
        app = compose(folder, load_settings(folder, simulate=True), simulated_links)
        await app.set_up()
        add_hosts(app.cloud)
        luck, took = random.Random(2), []
        for _ in range(PICKS):
            wanted = Wanted(vcpus=luck.randrange(1, 48), ram_mib=luck.randrange(1, 192) << 10, disk_gib=luck.randrange(2000))
            began = time.perf_counter()
            scheduling.pick(app.cloud, wanted)
            took.append(time.perf_counter() - began)
        await app.stop()
        return took

    return uvloop.run(measured())


def add_hosts(cloud: Cloud) -> None:
    """10,000 hosts with any amount of room, in the table alone."""
    table = scheduling.table(cloud)
    luck = random.Random(1)
    for n in range(HOSTS):
        free = {"free_vcpus": luck.randrange(64), "free_ram_mib": luck.randrange(256 << 10), "free_disk_gib": luck.randrange(4000)}
        table.hosts[f"h{n}"] = Host(f"h{n}", f"id{n}", "nova", up=True, arch="x86_64", max_vcpus=64, max_ram_mib=256 << 10,
                                    max_disk_gib=4000, **free)  # fmt: skip
    table.sort()
