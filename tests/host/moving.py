"""A cloud of two machines in namespaces, with emulated guests on both, as its administrator and the world outside see it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from tests.e2e.namespace import inside
from tests.e2e.waiting import until
from tests.host.test_two_machines import URL, Cloud
from tests.node.turns import CACHE

from moln.demo import story
from moln.demo.client import Client
from moln.guest.build import build_guest_image
from moln.host.places import Places
from moln.host.supervise.processes import Identity
from moln.node import nbdkit

SSH_S, MOVE_S = 240.0, 240.0
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


class Moving:
    """Machines `c1`, the controller, and `n1`, both with guests."""

    def __init__(self) -> None:
        self.cloud = Cloud()
        self.tag = self.cloud.tag

    def up(self) -> None:
        moln = self.cloud.moln
        moln("c1", "controller", "init", "--listen", "192.0.2.1", "--provider-interface", "eth1", "--name", "c1", "--detach")
        token = moln("c1", "node", "token").strip()
        moln("n1", "node", "join", URL, "--token", token, "--provider-interface", "eth1", "--name", "n1", "--detach")
        home = self.cloud.home / "c1"
        (home / "demo").mkdir(exist_ok=True)
        with inside(f"{self.tag}-c1", keep=True):
            password, cacert = (home / "admin.password").read_text().strip(), str(home / "tls/ca.crt")
            self.client = client = Client(URL, user="admin", password=password, project="admin", cacert=cacert)
            self.image = story.ensure_image(client, build_guest_image(CACHE / "guest.qcow2"))["id"]
            self.public = story.ensure_public_network(client, IPv4Network("203.0.113.0/24"))
            self.network = story.ensure_private_network(client, self.public)
            self.group, self.key = story.ensure_security_group(client), story.ensure_key(client, home / "demo")
            self.flavor = story.ensure_flavor(client)["id"]

    def down(self) -> None:
        self.cloud.close()

    # ---- the APIs

    def call(self, method: str, path: str, body: Any = None) -> Any:
        with inside(f"{self.tag}-c1", keep=True):
            return self.client.call(method, path, body)

    def server(self, server_id: str) -> dict[str, Any]:
        return dict(self.call("GET", f"{story.COMPUTE}/servers/{server_id}")["server"])

    def boot(self, name: str, host: str, image: str = "", **more: Any) -> Guest:
        with inside(f"{self.tag}-c1", keep=True):
            made = self.client.make("server", f"{story.COMPUTE}/servers", name, {
                "imageRef": image or self.image, "flavorRef": self.flavor, "networks": [{"uuid": self.network["id"]}], "key_name": "demo",
                "security_groups": [{"name": self.group["name"]}], "availability_zone": f"nova:{host}", **more})  # fmt: skip
            self.client.wait(f"{story.COMPUTE}/servers/{made['id']}", "server", lambda s: s["status"] == "ACTIVE", 180)
            return Guest(self, made["id"], story.ensure_floating_ip(self.client, made["id"], self.public))

    def service(self, host: str) -> dict[str, Any]:
        return dict(self.call("GET", f"{story.COMPUTE}/os-services?host={host}&binary=nova-compute")["services"][0])

    def tell_service(self, host: str, **what: object) -> None:
        self.call("PUT", f"{story.COMPUTE}/os-services/{self.service(host)['id']}", what)

    def volume(self, volume_id: str) -> dict[str, Any]:
        return dict(self.call("GET", f"{story.VOLUME}/volumes/{volume_id}")["volume"])

    def make_volume(self, at: str = "", **more: Any) -> tuple[str, str]:
        """(its id, its machine). at: where it must lie; else where the scheduler will."""
        elsewhere = [machine for machine in ("c1", "n1") if at not in ("", machine)]
        for machine in elsewhere:
            self.tell_volumes(machine, "disable")
        made = self.call("POST", f"{story.VOLUME}/volumes", {"volume": {"size": 1, "name": "lent", **more}})["volume"]["id"]
        until(lambda: self.volume(made)["status"] == "available", "the volume", 60)
        for machine in elsewhere:
            self.tell_volumes(machine, "enable")
        return made, str(self.volume(made)["os-vol-host-attr:host"]).partition("@")[0]

    def tell_volumes(self, machine: str, what: str) -> None:
        """`enable` or `disable` its pool: whether new volumes are made there."""
        self.call("PUT", f"{story.VOLUME}/os-services/{what}", {"binary": "cinder-volume", "host": f"{machine}@pool"})

    def pool_file(self, machine: str, volume_id: str) -> Path:
        return Places(self.cloud.home / machine).pool / "volumes" / volume_id

    def lent(self, machine: str) -> dict[str, list[int]]:
        """The processes that lend and open volumes on a machine, by folder."""
        folder = Places(self.cloud.home / machine).host / "lent"
        return {str(found.relative_to(folder)): [p.pid for p in processes] for found, processes in nbdkit.running(folder).items()}

    # ---- the machines

    @contextlib.contextmanager
    def libvirt(self, machine: str) -> Iterator[Any]:
        """A machine's own, whatever its links are."""
        import libvirt

        connection = libvirt.open(Places(self.cloud.home / machine).libvirt_uri)
        try:
            yield connection
        finally:
            connection.close()

    def domains(self, machine: str) -> set[str]:
        """Ids of the servers that a machine's libvirtd knows."""
        with self.libvirt(machine) as connection:
            return {domain.UUIDString() for domain in connection.listAllDomains()}

    def kill(self, machine: str, engine: str) -> None:
        """-9; its supervisor starts it anew."""
        found = Identity.read(self.cloud.home / machine / f"host/run/{engine}.pid")
        assert found is not None and found.alive()
        os.kill(found.pid, signal.SIGKILL)

    def cut(self, machine: str, how: str) -> None:
        """`down` or `up`: both its cables."""
        self.cloud.cut({"c1": 1, "n1": 2}[machine], how)


class Guest:
    """A server, by the API and by ssh from the provider network."""

    def __init__(self, at: Moving, server_id: str, address: str) -> None:
        self.at, self.id, self.address = at, server_id, address

    @property
    def host(self) -> str:
        return str(self.at.server(self.id)["OS-EXT-SRV-ATTR:host"])

    @property
    def state(self) -> tuple[str, str | None]:
        """(its status, what is being done to it)."""
        found = self.at.server(self.id)
        return str(found["status"]), found["OS-EXT-STS:task_state"]

    def act(self, **action: Any) -> Any:
        return self.at.call("POST", f"{story.COMPUTE}/servers/{self.id}/action", action)

    def wait(self, status: str) -> None:
        """Until it is so and nothing is being done to it."""

        def there() -> bool:
            found = self.at.server(self.id)
            assert status == "ERROR" or found["status"] != "ERROR", found.get("fault")
            return found["status"] == status and found["OS-EXT-STS:task_state"] is None

        until(there, f"server {self.id} {status}", MOVE_S)

    def migration(self) -> str:
        """How its last move ended, or is."""
        found = self.at.call("GET", f"{story.COMPUTE}/os-migrations?instance_uuid={self.id}")["migrations"]
        return str(max(found, key=lambda m: m["id"])["status"])

    def _ssh(self, command: str) -> subprocess.CompletedProcess[str]:
        words = ["ip", "netns", "exec", self.at.cloud.world, "ssh", "-i", str(self.at.key), "-o", "StrictHostKeyChecking=no", "-o",
                 "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", "LogLevel=ERROR", "-o",
                 "ServerAliveInterval=5", f"root@{self.address}", command]  # fmt: skip
        return subprocess.run(words, capture_output=True, text=True, timeout=90, check=False)

    def run(self, command: str) -> str:
        """What a command printed, once the guest answers."""
        done: list[subprocess.CompletedProcess[str]] = []

        def answered() -> bool:
            done[:] = [self._ssh(command)]
            return done[0].returncode != 255

        until(answered, f"ssh to {self.address}", SSH_S, each_s=1.0)
        assert done[0].returncode == 0, done[0].stdout + done[0].stderr
        return done[0].stdout.strip()

    def boot_id(self) -> str:
        return self.run(BOOT_ID)

    def delete(self) -> None:
        self.at.call("DELETE", f"{story.COMPUTE}/servers/{self.id}")
        until(lambda: not any(s["id"] == self.id for s in self.at.call("GET", f"{story.COMPUTE}/servers")["servers"]), "deleted", 60)

