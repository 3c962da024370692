"""A server on each machine: they reach each other, and the world reaches both. story.py URL HOME NAMESPACE IMAGE

HOME: the controller's, for the password and the authority. NAMESPACE: of a host on the provider network, from which ssh goes in.
IMAGE: of a guest (moln.guest.build).
"""

from __future__ import annotations

import subprocess
import sys
import time
from ipaddress import IPv4Network
from pathlib import Path

from moln.cli.progress import Progress
from moln.demo import story
from moln.demo.client import Client
from moln.guest.build import GUEST_LOGIN

MACHINES = ("controller", "compute")
SSH_S = 300.0


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
            steps.note(ssh(world, key, addresses[here], f"hostname; nc -w 5 {fixed[there]} 22 < /dev/null | head -c 7").replace("\n", " hears "))
    for row in client.call("GET", f"{story.COMPUTE}/os-services")["services"]:
        print(row["binary"], row["host"], row["status"], row["state"], sep="\t")
    for row in client.call("GET", f"{story.NETWORK}/agents")["agents"]:
        print(row["binary"], row["host"], "alive" if row["alive"] else "dead", sep="\t")
    return 0


def ssh(world: str, key: Path, address: str, command: str) -> str:
    """What a command in a guest said, once it answers."""
    words = ["ip", "netns", "exec", world, "ssh", "-i", str(key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
             "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", "LogLevel=ERROR", f"{GUEST_LOGIN}@{address}", command]  # fmt: skip
    ends = time.monotonic() + SSH_S
    while True:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode == 0 and "SSH-2.0" in done.stdout:
            return done.stdout.strip()
        if time.monotonic() > ends:
            raise SystemExit(f"{address} did not answer: {done.stdout}{done.stderr}")
        time.sleep(1.0)  # a guest that boots tells nobody when its ssh is there


if __name__ == "__main__":
    sys.exit(main())
