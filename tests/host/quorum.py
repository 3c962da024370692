"""Three controllers with members of every engine, a fourth machine to take a dead one's place, and a node: machines in namespaces."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from typing import Any

from tests.e2e.namespace import inside
from tests.e2e.waiting import until
from tests.host.test_two_machines import MOLN
from tests.network import machines
from tests.network.lab import run
from tests.postgres import Server

from moln.cli import admin
from moln.demo import story
from moln.demo.client import Client
from moln.host.places import INTEGRATION_BRIDGE, PACKAGE_ROOT, Places

CONTROLLERS = ("c1", "c2", "c3", "c4")
NUMBERS = {name: number for number, name in enumerate((*CONTROLLERS, "n1"), 1)}
CLUSTERS = {"etcd", "ovn-nb", "ovn-sb", "nats"}


class Quorum(machines.Homes):
    """Nothing is on the machines yet but this copy of Moln. The database is on none of them: it has a standby of its own elsewhere (ADR 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.postgres = Server(lasting=True)
        self.postgres.folder.chmod(0o755)
        self.database = asyncio.run(self.postgres.empty())
        self.fabric()
        for name, number in NUMBERS.items():
            self.machine(name, number)
        self.wire(self.netns("op"), "eth0", self.management, "op")
        run("ip", "-n", f"{self.tag}-op", "addr", "add", "192.0.2.100/24", "dev", "eth0")
        self.clients: dict[str, Client] = {}

    # ---- as an operator types it

    def moln(self, name: str, *arguments: str) -> str:
        return run("nsenter", f"--net=/run/netns/{self.tag}-{name}", sys.executable, "-P", "-c", MOLN, *arguments, "--home", str(self.home / name),
                   timeout_s=300, env={"PYTHONPATH": str(PACKAGE_ROOT)})  # fmt: skip

    def begin(self, *more: str) -> str:
        said = self.moln("c1", "controller", "init", "--ha", "--database-url", self.database, "--listen", "192.0.2.1", "--name", "c1", "--detach", *more)
        (self.home / "c1/pool/images").rename(self.home / "images")
        self.share_images("c1")
        return said

    def join(self, name: str, at: str) -> str:
        token = self.moln(at, "controller", "token").strip()
        said = self.moln(name, "controller", "join", self.url(at), "--token", token, "--listen", self.address(name), "--name", name, "--detach")
        shutil.rmtree(self.home / name / "pool/images")
        self.share_images(name)
        return said

    def share_images(self, name: str) -> None:
        """All controllers see one folder, which is on none of their machines."""
        (self.home / name / "pool/images").symlink_to(self.home / "images")

    def join_node(self, at: str) -> str:
        token = self.moln(at, "node", "token").strip()
        return self.moln("n1", "node", "join", self.url(at), "--token", token, "--name", "n1", "--detach")

    def address(self, name: str) -> str:
        return f"192.0.2.{NUMBERS[name]}"

    def url(self, name: str) -> str:
        return f"https://{self.address(name)}:5000"

    # ---- as a client does

    def call(self, at: str, method: str, path: str, body: Any = None) -> Any:
        with inside(f"{self.tag}-op", keep=True):
            return self.client(at).call(method, path, body)

    def client(self, at: str) -> Client:
        home = self.home / at
        if at not in self.clients:
            password = (home / "admin.password").read_text().strip()
            self.clients[at] = Client(self.url(at), user="admin", password=password, project="admin", cacert=str(home / "tls/ca.crt"))
        return self.clients[at]

    def boot(self, at: str, name: str) -> str:
        """A server of an image that this controller has, once it is ACTIVE: its domain runs, and OVN says that its port is up."""
        with inside(f"{self.tag}-op", keep=True):
            client = self.client(at)
            image = client.call("POST", "/image/v2/images", {"name": name, "disk_format": "raw", "container_format": "bare"})["id"]
            file = self.home / "nothing.raw"
            file.write_bytes(bytes(1 << 20))
            client.upload(f"/image/v2/images/{image}/file", file)
            network = client.ensure("network", f"{story.NETWORK}/networks", "inside", {})["id"]
            client.ensure("subnet", f"{story.NETWORK}/subnets", "inside", {"network_id": network, "ip_version": 4, "cidr": "10.9.0.0/24"})
            flavor = client.ensure("flavor", f"{story.COMPUTE}/flavors", "least", {"vcpus": 1, "ram": 64, "disk": 1})["id"]
            server = client.make("server", f"{story.COMPUTE}/servers", name, {"imageRef": image, "flavorRef": flavor, "networks": [{"uuid": network}]})
            client.wait(f"{story.COMPUTE}/servers/{server['id']}", "server", lambda s: s["status"] == "ACTIVE", 120)
            return str(server["id"])

    def plug(self, at: str, name: str) -> None:
        """A port of a network that this controller is asked for, with something in it on the node, once it is ACTIVE."""
        network = self.call(at, "POST", f"{story.NETWORK}/networks", {"network": {"name": name}})["network"]["id"]
        port = self.call(at, "POST", f"{story.NETWORK}/ports", {"port": {"network_id": network, "binding:host_id": "n1"}})["port"]["id"]
        run(str(Places(self.home / "n1").bin / "ovs-vsctl"), "add-port", INTEGRATION_BRIDGE, name, "--", "set", "interface", name, "type=internal",
            f"external_ids:iface-id={port}")  # fmt: skip
        until(lambda: self.call(at, "GET", f"{story.NETWORK}/ports/{port}")["port"]["status"] == "ACTIVE", f"port {name} is up", 90)

    # ---- how it stands

    def standing(self, at: str) -> dict[str, str]:
        """What a controller says of each cluster."""
        return {found["name"]: found["text"] for found in admin.ask(Places(self.home / at), "doctor", timeout_s=60)["clusters"]}

    def findings(self, at: str) -> dict[str, str]:
        done = run("nsenter", f"--net=/run/netns/{self.tag}-{at}", sys.executable, "-P", "-c", MOLN, "doctor", "--json", "--home",
                   str(self.home / at), timeout_s=120, check=False, env={"PYTHONPATH": str(PACKAGE_ROOT)})  # fmt: skip
        return {found["name"]: f"{found['level']}: {found['text']}" for found in json.loads(done)}

    def whole(self, at: str, members: int) -> bool:
        """Whether all clusters have so many members, all up and with a vote."""
        said = self.standing(at)
        return said.keys() == CLUSTERS and all(f"{members} of {members} members are up" in text and "no vote" not in text for text in said.values())

    def remote(self) -> str:
        """Where the node's ovn-controller looks."""
        return run(str(Places(self.home / "n1").bin / "ovs-vsctl"), "get", "Open_vSwitch", ".", "external_ids:ovn-remote").strip().strip('"')

    def southbound(self, at: str) -> str:
        """Names of the networks in OVN's southbound database, as this controller's member has it."""
        return run(str(Places(self.home / at).bin / "ovn-sbctl"), "--bare", "--columns=external_ids", "list", "Datapath_Binding")

    def node(self, at: str) -> str:
        """`up` or `down`, as compute has it; empty: it never came."""
        return next((str(s["state"]) for s in self.call(at, "GET", f"{story.COMPUTE}/os-services?binary=nova-compute")["services"]), "")

    def connected(self) -> bool:
        told = run(str(Places(self.home / "n1").bin / "ovs-appctl"), "-t", str(Places(self.home / "n1").ovs / "ovn-controller.ctl"), "connection-status",
                   check=False)  # fmt: skip
        return told.strip() == "connected"

    def die(self, name: str) -> None:
        """The machine loses power: its cables say nothing more, and none of its processes does anything again."""
        self.cut(NUMBERS[name], "down")
        for number in (signal.SIGSTOP, signal.SIGKILL):  # who watches others has no time to start them anew
            for pid in run("ip", "netns", "pids", f"{self.tag}-{name}").split():
                os.kill(int(pid), number)
        until(lambda: not run("ip", "netns", "pids", f"{self.tag}-{name}").split(), "all of it is gone", 10)

    def close(self) -> None:
        for name in ("n1", *CONTROLLERS):
            if (self.home / name / "host").exists():
                self.moln(name, "down", "--purge")
        self.postgres.remove()
        super().close()
