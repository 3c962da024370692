"""A real cloud for tests: `moln up` in a network namespace of its own, driven by the unmodified openstacksdk, and guests by ssh."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import openstack
from openstack.connection import Connection
from tests.node.bench import CACHE, REPO, guests_alone, shell

from moln.guest import GUEST_LOGIN, build_guest_image
from moln.host.places import Places
from moln.host.settings import HostSettings

R = TypeVar("R")
NETNS = "moln-e2e"
PORT = 5600
BOOT_S = 180.0
SETTINGS = '[node]\ndisk_cache = "unsafe"\n[host]\npool_size_gib = 6\n'


def eventually(ask: Callable[[], R], timeout_s: float, *, every_s: float = 0.2, what: str = "") -> R:
    """The first true answer. Raises: AssertionError."""
    ends = time.monotonic() + timeout_s
    while not (answer := ask()):
        assert time.monotonic() < ends, f"{what or ask} did not come true in {timeout_s:g} s"
        time.sleep(every_s)
    return answer


class RealCloud:
    """One machine's cloud. admin: a connection as admin. key: opens every guest booted here."""

    def __init__(self, home: Path) -> None:
        self.places = Places(home)
        self.provider = HostSettings().provider
        self.key = home.parent / "key"

    def moln(self, *arguments: str, timeout: float = 600) -> str:
        """The command itself."""
        program = "from moln.cli import main; raise SystemExit(main())"
        command = (sys.executable, "-c", program, *arguments, "--home", str(self.places.home))
        return shell(*command, timeout=timeout, env={"PYTHONPATH": str(REPO / "src")})

    def up(self) -> None:
        home = self.places.home
        (home / "demo").mkdir(parents=True)
        (home / "moln.toml").write_text(SETTINGS)
        shutil.copy(build_guest_image(CACHE / "guest.qcow2"), home / "demo/guest.qcow2")
        shell("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        self.moln("up", "--detach", "--port", str(PORT))
        self.admin = self.connect("admin", self.places.admin_password.read_text().strip(), "admin")

    def connect(self, user: str, password: str, project: str) -> Connection:
        return openstack.connect(
            auth_url=f"http://127.0.0.1:{PORT}/identity/v3", username=user, password=password, project_name=project,
            user_domain_id="default", project_domain_id="default", region_name="RegionOne", load_envvars=False,
            load_yaml_config=False, compute_default_microversion="2.96", image_api_use_tasks=False,
        )  # fmt: skip

    def doctor(self) -> list[dict[str, str]]:
        """What the cloud finds wrong with itself."""
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(60)
            asked.connect(str(self.places.admin_socket))
            asked.sendall(b"GET /doctor HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: asked.recv(1 << 16), b""))
        found: list[dict[str, str]] = json.loads(answer.partition(b"\r\n\r\n")[2])["violations"]
        return found

    def virsh(self, *arguments: str) -> str:
        return shell("virsh", "-c", self.places.libvirt_uri, *arguments)

    def qemu_of(self, server_id: str) -> int:
        """The process that is the guest."""
        done = subprocess.run(["pgrep", "-f", f"guest=moln-{server_id}"], capture_output=True, text=True, timeout=10, check=False)
        return int(done.stdout.split()[0])

    def leftovers(self) -> dict[str, list[str]]:
        """What guests could leave on the host."""
        links = [link["ifname"] for link in json.loads(shell("ip", "-j", "link"))]
        ports = shell(str(self.places.bin / "ovs-vsctl"), "list-ports", "moln-int").split()
        return {
            "domains": self.virsh("list", "--all", "--name").split(),
            "links": [name for name in links if name.startswith(("tap", "md"))],
            "switch ports": [name for name in ports if name.startswith(("tap", "md"))],
            "disks": os.listdir(self.places.pool / "disks"),
            "volumes": os.listdir(self.places.pool / "volumes"),
            "folders": os.listdir(self.places.host / "node/servers"),
        }


@contextlib.contextmanager
def real_cloud() -> Iterator[RealCloud]:
    """Up now, purged afterwards. This thread stands in the cloud's network meanwhile."""
    with guests_alone(), tempfile.TemporaryDirectory(prefix="moln-e2e-", dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        shell("ip", "netns", "add", NETNS)
        shell("ip", "-n", NETNS, "link", "set", "lo", "up")
        cloud = RealCloud(Path(folder) / "home")
        try:
            with standing_in(NETNS):
                try:
                    cloud.up()
                    yield cloud
                finally:
                    cloud.moln("down", "--purge")
        finally:
            subprocess.run(["ip", "netns", "del", NETNS], check=False, timeout=30)


@contextlib.contextmanager
def standing_in(netns: str) -> Iterator[None]:
    """This thread, and what it starts, in another network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as before, open(f"/run/netns/{netns}") as wanted:
        assert libc.setns(wanted.fileno(), 0x40000000) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert libc.setns(before.fileno(), 0x40000000) == 0


class Tenant:
    """A project with a network, a router, a security group for ssh and ping, and a key, all called as it is."""

    def __init__(self, cloud: RealCloud, name: str, cidr: str) -> None:
        self.cloud = cloud
        self.name = name
        project = cloud.admin.identity.create_project(name=name, domain_id="default")
        user = cloud.admin.identity.create_user(name=name, password="secret-of-tests", default_project_id=project.id)
        role = cloud.admin.identity.find_role("member")
        cloud.admin.identity.assign_project_role_to_user(project, user, role)
        self.os = cloud.connect(name, "secret-of-tests", name)
        self.network = self.os.network.create_network(name=name)
        self.subnet = self.os.network.create_subnet(network_id=self.network.id, ip_version=4, cidr=cidr)
        self.router = self.os.network.create_router(name=name, external_gateway_info={"network_id": public(cloud).id})
        self.os.network.add_interface_to_router(self.router, subnet=self.subnet.id)
        self.group = self.os.network.create_security_group(name=name)
        for rule in ({"protocol": "tcp", "port_range_min": 22, "port_range_max": 22}, {"protocol": "icmp"}):
            self.os.network.create_security_group_rule(security_group_id=self.group.id, direction="ingress", **rule)
        self.os.compute.create_keypair(name=name, public_key=cloud.key.with_suffix(".pub").read_text().strip(), type="ssh")

    def boot(self, name: str, *, image: str | None = None, address: str | None = None, script: str = "") -> Guest:
        """A guest with a floating IP, once it is ACTIVE."""
        network: dict[str, Any] = {"uuid": self.network.id} | ({"fixed_ip": address} if address else {})
        server = self.os.compute.create_server(
            name=name, image_id=image or guest_image(self.cloud).id, flavor_id=flavor(self.cloud).id, networks=[network],
            key_name=self.name, security_groups=[{"name": self.name}],
            user_data=base64.b64encode(f"#!/bin/sh\n{script}\n".encode()).decode(),
        )  # fmt: skip
        self.os.compute.wait_for_server(server, wait=120, interval=0.3)
        (port,) = self.os.network.ports(device_id=server.id)
        floating = self.os.network.create_ip(floating_network_id=public(self.cloud).id, port_id=port.id)
        return Guest(self, server.id, floating.floating_ip_address, port.fixed_ips[0]["ip_address"])

    def delete(self) -> None:
        """Everything of it."""
        for server in self.os.compute.servers():
            self.os.compute.delete_server(server, force=False)
        for server in self.os.compute.servers():
            self.os.compute.wait_for_delete(server, wait=60, interval=0.3)
        for volume in self.os.block_storage.volumes():
            self.os.block_storage.delete_volume(volume)
        for volume in self.os.block_storage.volumes():
            self.os.block_storage.wait_for_delete(volume, wait=60, interval=0.3)
        for image in self.os.image.images(visibility="private"):
            self.os.image.delete_image(image)
        for address in self.os.network.ips():
            self.os.network.delete_ip(address)
        self.os.network.remove_interface_from_router(self.router, subnet=self.subnet.id)
        self.os.network.delete_router(self.router)
        self.os.network.delete_network(self.network)
        self.os.network.delete_security_group(self.group)


class Guest:
    """One server, reached over its floating address."""

    def __init__(self, tenant: Tenant, id: str, floating: str, address: str) -> None:
        self.tenant = tenant
        self.id = id
        self.floating = floating
        self.address = address

    def ssh(self, command: str, *, timeout_s: float = BOOT_S, user: str = GUEST_LOGIN) -> str:
        """What the command prints, once the guest can be reached. Raises: AssertionError."""
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes", "ConnectTimeout=5"]
        line = ["ssh", "-i", str(self.tenant.cloud.key), *[part for option in options for part in ("-o", option)],
                f"{user}@{self.floating}", command]  # fmt: skip
        ends = time.monotonic() + timeout_s
        while True:
            done = subprocess.run(line, capture_output=True, text=True, timeout=timeout_s, check=False)
            if done.returncode != 255:  # 255: ssh itself failed
                assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
                return done.stdout
            assert time.monotonic() < ends, f"{self.floating} cannot be reached: {done.stderr}; its console:\n{self.console()[-1500:]}"
            time.sleep(0.5)

    def root(self, command: str) -> str:
        return self.ssh(command, user="root")

    def leave_running(self, script: str, *, user: str = GUEST_LOGIN) -> None:
        """Start a script that outlives the connection."""
        coded = base64.b64encode(script.encode()).decode()
        self.ssh(f"echo {coded} | base64 -d > /tmp/left.{user}; setsid sh /tmp/left.{user} </dev/null >/dev/null 2>&1 &", user=user)

    def boot_id(self) -> str:
        return self.ssh("cat /proc/sys/kernel/random/boot_id").strip()

    def console(self) -> str:
        return str(self.tenant.os.compute.get_server_console_output(self.id)["output"])

    def status(self) -> str:
        return str(self.tenant.os.compute.get_server(self.id).status)

    def wait_for(self, status: str, timeout_s: float = 90) -> None:
        eventually(lambda: self.status() == status, timeout_s, what=f"{status} of {self.id}")


def once(make: Callable[[RealCloud], Any]) -> Callable[[RealCloud], Any]:
    """Made at the first call for a cloud, found afterwards."""

    def find(cloud: RealCloud) -> Any:
        made = cloud.__dict__.setdefault("made", {})
        if make.__name__ not in made:
            made[make.__name__] = make(cloud)
        return made[make.__name__]

    return find


@once
def public(cloud: RealCloud) -> Any:
    """The provider network of floating IPs."""
    network = cloud.admin.network.create_network(
        name="public", is_router_external=True, provider_network_type="flat", provider_physical_network="public"
    )
    pool = [{"start": str(cloud.provider[10]), "end": str(cloud.provider[-2])}]
    cloud.admin.network.create_subnet(
        network_id=network.id, ip_version=4, cidr=str(cloud.provider), gateway_ip=str(cloud.provider[1]), is_dhcp_enabled=False,
        allocation_pools=pool,
    )  # fmt: skip
    return network


@once
def guest_image(cloud: RealCloud) -> Any:
    return cloud.admin.image.create_image(
        name="guest", filename=str(CACHE / "guest.qcow2"), disk_format="qcow2", container_format="bare", visibility="public", wait=True,
        timeout=120, validate_checksum=False,
    )  # fmt: skip


@once
def flavor(cloud: RealCloud) -> Any:
    return cloud.admin.compute.create_flavor(name="small", vcpus=1, ram=128, disk=1)
