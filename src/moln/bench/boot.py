"""A real server, from POST to QEMU's start, step by step: our own time, the image cached. Needs a cloud that runs guests."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from moln.bench.rows import Row
from moln.demo.client import Client
from moln.host.places import Places

COMPUTE = "/compute/v2.1"
MOST_S = 0.5
WAIT_S = 60.0
TIMES = 3
NAME = "POST /servers to QEMU's start, image cached"
STEP = re.compile(r"(compute\.\w+) (server:\S+) done in (\d+) ms")
RUNS = re.compile(r"server (\S+) runs: plug (\d+) ms, define (\d+) ms, QEMU (\d+) ms")


class Step(Struct, frozen=True):
    """Something that had happened `at_s` seconds after the request was sent."""

    name: str
    at_s: float


def measure(places: Places, url: str, cacert: str = "") -> Row:
    """The budget's line in a running cloud that told its demo: the best of three boots. Raises: DemoError, TimeoutError."""
    client = Client(url, user="admin", password=places.admin_password.read_text().strip(), project="admin", cacert=cacert)
    images = client.call("GET", "/image/v2/images?name=moln-guest&status=active")["images"]
    flavors = [f for f in client.call("GET", f"{COMPUTE}/flavors")["flavors"] if f["name"] == "demo"]
    networks = client.call("GET", "/network/v2.0/networks?name=demo")["networks"]
    if not (images and flavors and networks):
        return Row(NAME, MOST_S, "s", None, "this cloud has no demo to boot another server of: moln up --demo")
    body = {"name": "bench", "imageRef": images[0]["id"], "flavorRef": flavors[0]["id"], "networks": [{"uuid": networks[0]["id"]}]}
    return min((row(boot(client, places, body)) for _ in range(TIMES)), key=lambda r: r.value or MOST_S)


def boot(client: Client, places: Places, body: dict[str, Any]) -> list[Step]:
    """Create one server (`body`: what POST /servers takes), wait for ACTIVE, delete it. Returns what happened when, in order.

    Raises: DemoError.
    """
    posted = time.time()
    server = client.call("POST", f"{COMPUTE}/servers", {"server": body})["server"]
    answered = time.time()
    path = f"{COMPUTE}/servers/{server['id']}"
    try:
        started = _started(places, server["id"])
        client.wait(path, "server", lambda s: s["status"] == "ACTIVE", WAIT_S)
        active = time.time()
        steps = [Step("answered and committed", answered - posted), Step("QEMU's process began", started - posted), Step("ACTIVE", active - posted)]
        steps += [Step(name, at - posted) for name, at in _told(places, server["id"])]
    finally:
        client.call("DELETE", path)
        _gone(client, server["id"])
    return sorted(steps, key=lambda step: step.at_s)


def row(steps: list[Step]) -> Row:
    """The budget's line: until QEMU's process began."""
    value = next(step.at_s for step in steps if step.name.startswith("QEMU"))
    return Row(NAME, MOST_S, "s", value, ", ".join(f"{s.name} {s.at_s:.3f}" for s in steps))


def _gone(client: Client, server_id: str) -> None:
    """So that the next one has the machine for itself."""
    ends = time.monotonic() + WAIT_S
    while any(s["id"] == server_id for s in client.call("GET", f"{COMPUTE}/servers")["servers"]) and time.monotonic() < ends:
        time.sleep(0.1)  # the public API has no event to wait for


def _started(places: Places, server_id: str) -> float:
    """When the process of a server's QEMU began, s since 1970. Raises: TimeoutError."""
    file = places.libvirt / f"run/qemu/moln-{server_id}.pid"
    ends = time.monotonic() + WAIT_S
    while time.monotonic() < ends:
        try:
            fields = Path(f"/proc/{int(file.read_text())}/stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            time.sleep(0.01)  # libvirt tells when it has answered QEMU's monitor, which is later
            continue
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    raise TimeoutError(f"QEMU of {server_id} did not start in {WAIT_S:g} s")


def _told(places: Places, server_id: str) -> Iterator[tuple[str, float]]:
    """What the node's log says was done for a server, and when (s since 1970, to the millisecond)."""
    for line in (places.log / "node.log").read_text(errors="replace").splitlines()[-500:]:
        if server_id not in line or not line.startswith("{"):
            continue
        entry = json.loads(line)
        at = datetime.fromisoformat(entry["time"]).timestamp()
        if found := STEP.search(entry["message"]):
            yield f"{found[1].partition('.')[2]} done ({found[3]} ms)", at
        elif found := RUNS.search(entry["message"]):
            yield f"plugged ({found[2]} ms)", at - (int(found[3]) + int(found[4])) / 1000
            yield f"defined ({found[3]} ms)", at - int(found[4]) / 1000
            yield f"libvirt says it runs ({found[4]} ms)", at
