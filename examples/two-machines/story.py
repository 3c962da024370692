"""A server on each machine: they reach each other, and the world reaches both; one then moves to the other machine without being turned off.
story.py URL HOME NAMESPACE IMAGE

HOME: the controller's, for the password and the authority. NAMESPACE: of a host on the provider network, from which ssh goes in.
IMAGE: of a guest (moln.guest.build).
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from moln.cli.progress import Progress
from moln.demo import story
from moln.demo.client import Client
from moln.guest.build import GUEST_LOGIN

MACHINES = ("controller", "compute")
SSH_S = 300.0
MOVE_S = 300.0
GREETING = "SSH-2.0"
PING_S = 0.1
ALIVE = "cat /proc/sys/kernel/random/boot_id; cut -d ' ' -f 1 /proc/uptime"


def main() -> int:
    url, home, world, guest = sys.argv[1], Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    client = Client(url, user="admin", password=(home / "admin.password").read_text().strip(), project="admin", cacert=str(home / "tls/ca.crt"))
    steps, folder = Progress(), home / "demo"
    folder.mkdir(mode=0o700, exist_ok=True)
    with steps("Image, networks, router, key, flavor"):
        image = story.ensure_image(client, guest)
        public = story.ensure_public_network(client, IPv4Network("203.0.113.0/24"))
        network = story.ensure_private_network(client, public)
        group, key, flavor = story.ensure_security_group(client), story.ensure_key(client, folder), story.ensure_flavor(client)
    servers = {}
    for machine in MACHINES:
        with steps(f"A server on {machine}"):
            made = client.ensure("server", f"{story.COMPUTE}/servers?name=^on-{machine}$", f"on-{machine}", {
                "imageRef": image["id"], "flavorRef": flavor["id"], "networks": [{"uuid": network["id"]}], "key_name": "demo",
                "security_groups": [{"name": group["name"]}], "availability_zone": f"nova:{machine}"})  # fmt: skip
            servers[machine] = client.wait(f"{story.COMPUTE}/servers/{made['id']}", "server", lambda s: s["status"] == "ACTIVE", 300)
            steps.note(f"{servers[machine]['OS-EXT-SRV-ATTR:host']}: ACTIVE")
    addresses = {machine: story.ensure_floating_ip(client, server["id"], public) for machine, server in servers.items()}
    fixed = {m: next(a["addr"] for a in s["addresses"]["demo"] if a["OS-EXT-IPS:type"] == "fixed") for m, s in servers.items()}
    for here, there in (MACHINES, MACHINES[::-1]):
        with steps(f"ssh {GUEST_LOGIN}@{addresses[here]} on {here}, and from there ssh's greeting of {fixed[there]} on {there}"):
            said = ssh(world, key, addresses[here], f"hostname; nc -w 5 {fixed[there]} 22 < /dev/null | head -c 7", GREETING)
            steps.note(said.replace("\n", " hears "))
    move_live(steps, client, world, key, servers["controller"]["id"], addresses["controller"], "compute")
    for row in client.call("GET", f"{story.COMPUTE}/os-services")["services"]:
        print(row["binary"], row["host"], row["status"], row["state"], sep="\t")
    for row in client.call("GET", f"{story.NETWORK}/agents")["agents"]:
        print(row["binary"], row["host"], "alive" if row["alive"] else "dead", sep="\t")
    return 0


def move_live(steps: Progress, client: Client, world: str, key: Path, server_id: str, address: str, to: str) -> None:
    """Another machine has the server afterwards, its disk and its memory; the guest notices a gap, the world counts it."""
    before = ssh(world, key, address, ALIVE).split()
    with steps(f"{address} moves to {to} while it is pinged ten times a second"):
        began = time.monotonic()
        with pinged(world, address) as answers:
            client.call("POST", f"{story.COMPUTE}/servers/{server_id}/action", {"os-migrateLive": {"host": to, "block_migration": "auto"}})
            server = client.wait(f"{story.COMPUTE}/servers/{server_id}", "server", lambda s: s["status"] != "MIGRATING", MOVE_S)
            took = time.monotonic() - began
            after = ssh(world, key, address, ALIVE).split()
        if server["OS-EXT-SRV-ATTR:host"] != to or server["status"] != "ACTIVE":
            raise SystemExit(f"The server did not move: {failure(client, server_id)}")
        if after[0] != before[0] or float(after[1]) < float(before[1]):
            raise SystemExit(f"The guest began anew: {before} was {after}")
        gap = max(later - earlier for earlier, later in zip(answers, answers[1:], strict=False))
        steps.note(f"{server['OS-EXT-SRV-ATTR:host']}: ACTIVE after {took:.1f} s; the longest time without an answer was {gap:.1f} s")
        steps.note(f"the guest has been up for {after[1]} s, boot id {after[0]} as before")


def failure(client: Client, server_id: str) -> Any:
    """What the cloud says about a move that was none."""
    actions = client.call("GET", f"{story.COMPUTE}/servers/{server_id}/os-instance-actions")["instanceActions"]
    return client.call("GET", f"{story.COMPUTE}/servers/{server_id}/os-instance-actions/{actions[0]['request_id']}")["instanceAction"]


@contextmanager
def pinged(world: str, address: str) -> Iterator[list[float]]:
    """Ping meanwhile. When it ends, the list has when answers came, in seconds."""
    answers: list[float] = []
    with tempfile.TemporaryFile("w+") as said:
        words = ["ip", "netns", "exec", world, "ping", "-n", "-D", "-i", str(PING_S), address]
        process = subprocess.Popen(words, stdout=said, stderr=subprocess.STDOUT)
        try:
            yield answers
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(10)
            said.seek(0)
            answers += [float(at) for at in re.findall(r"^\[([\d.]+)\] \d+ bytes from", said.read(), re.MULTILINE)]
    if len(answers) < 2:
        raise SystemExit(f"{address} did not answer pings")


def ssh(world: str, key: Path, address: str, command: str, wanted: str = "") -> str:
    """What a command in a guest said, once it answers, with what is wanted."""
    words = ["ip", "netns", "exec", world, "ssh", "-i", str(key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
             "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", "LogLevel=ERROR", f"{GUEST_LOGIN}@{address}", command]  # fmt: skip
    ends = time.monotonic() + SSH_S
    while True:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode == 0 and wanted in done.stdout:
            return done.stdout.strip()
        if time.monotonic() > ends:
            raise SystemExit(f"{address} did not answer: {done.stdout}{done.stderr}")
        time.sleep(1.0)  # a guest that boots tells nobody when its ssh is there


if __name__ == "__main__":
    sys.exit(main())
