"""The cloud under test, and its tenants."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openstack
from openstack.config import OpenStackConfig
from tests.e2e.guests import Guest
from tests.e2e.waiting import until

from moln.host.places import Places

REPO = Path(__file__).resolve().parents[2]
MOLN = Path(sys.executable).parent / "moln"
"""As installed where these tests run; ./moln would look for a newer checkout first, and may want a network for it."""

PASSWORD = "a-Secret-of-tests-1"


def shell(*argv: str | Path, timeout_s: float = 60) -> str:
    """A command's output. Raises: AssertionError."""
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, argv))}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


class World:
    """A cloud that `moln up --demo --detach` made in `home`. story: what that command printed."""

    def __init__(self, home: Path) -> None:
        self.places = Places(home)
        self.story = ""
        self.tenants: dict[str, Tenant] = {}

    def moln(self, *arguments: str, timeout_s: float = 300, program: Path = MOLN) -> str:
        """What `moln …` printed. Raises: AssertionError, when it does not exit with 0."""
        command, *more = arguments
        return shell(program, command, "--home", self.places.home, *more, timeout_s=timeout_s)

    def openstack(self, *arguments: str) -> str:
        """The unmodified command-line client, as the administrator."""
        env = {**os.environ, "OS_CLIENT_CONFIG_FILE": str(self.places.home / "clouds.yaml"), "OS_CLOUD": "moln"}
        program = Path(sys.executable).parent / "openstack"
        done = subprocess.run([str(program), *arguments], capture_output=True, text=True, timeout=120, check=False, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def connect(self) -> None:
        found = OpenStackConfig(config_files=[str(self.places.home / "clouds.yaml")], load_envvars=False)
        self.admin = openstack.connection.Connection(config=found.get_one("moln"))

    @property
    def auth_url(self) -> str:
        return str(self.admin.auth["auth_url"])

    @property
    def image(self) -> Any:
        return self.admin.image.find_image("moln-guest", ignore_missing=False)

    @property
    def flavor(self) -> Any:
        return self.admin.compute.find_flavor("demo", ignore_missing=False)

    @property
    def public(self) -> Any:
        return self.admin.network.find_network("public", ignore_missing=False)

    def demo_guest(self) -> Guest:
        server = self.admin.compute.find_server("demo", ignore_missing=False)
        address = next(iter(self.admin.network.ips(port_id=next(iter(self.admin.network.ports(device_id=server.id))).id)))
        return Guest(self.admin, server.id, address.floating_ip_address, self.places.home / "demo/id_ed25519")

    def tenant(self, name: str) -> Tenant:
        """A project with one user, made once."""
        if name not in self.tenants:
            self.tenants[name] = Tenant(self, name)
        return self.tenants[name]

    def doctor(self) -> str:
        """`moln doctor`, which must find nothing wrong."""
        return self.moln("doctor")

    def findings(self) -> list[dict[str, Any]]:
        """What `moln doctor` calls bad."""
        import json

        done = subprocess.run(
            [str(MOLN), "doctor", "--json", "--home", str(self.places.home)], capture_output=True, text=True, timeout=180, check=False
        )  # fmt: skip
        return [f for f in json.loads(done.stdout) if f["level"] == "bad"]

    def healthy(self, within_s: float = 5) -> None:
        """The doctor comes to find nothing, sooner than what mends itself each minute could hide it. Raises: AssertionError."""
        found = self.findings()
        ends = time.monotonic() + within_s
        while found and time.monotonic() < ends:
            time.sleep(0.5)
            found = self.findings()
        assert not found, found

    # ---- below the APIs

    def qemu_pid(self, server_id: str) -> int:
        """0: it does not run."""
        file = self.places.libvirt / f"run/qemu/moln-{server_id}.pid"
        try:
            pid = int(file.read_text())
            return pid if server_id.encode() in Path(f"/proc/{pid}/cmdline").read_bytes() else 0
        except (OSError, ValueError):
            return 0

    def running_guests(self) -> list[str]:
        """Names of the domains that libvirt runs."""
        return shell("virsh", "-c", self.places.libvirt_uri, "list", "--name").split()

    def nb_rows(self) -> list[str]:
        """Every row of OVN's northbound database, without what counts by itself."""
        dump = shell(self.places.bin / "ovsdb-client", "dump", "--format=csv", "--data=json", f"unix:{self.places.nb_socket}", "OVN_Northbound") \
            if (self.places.bin / "ovsdb-client").exists() else self._nb_dump()
        return sorted(dump.splitlines())

    def _nb_dump(self) -> str:
        tables = ("Logical_Switch", "Logical_Switch_Port", "Logical_Router", "Logical_Router_Port", "ACL", "Port_Group", "NAT",
                  "DHCP_Options", "DNS", "Address_Set", "Logical_Router_Static_Route", "Gateway_Chassis", "HA_Chassis_Group",
                  "HA_Chassis", "QoS", "Meter", "Load_Balancer")  # fmt: skip
        return "\n".join(
            f"{table} {line}"
            for table in tables
            for line in shell(self.places.bin / "ovn-nbctl", "--format=csv", "--no-headings", "list", table).splitlines()
        )

    def database_hash(self) -> str:
        """Of the database's file and its log."""
        digest = hashlib.sha256()
        for name in ("cloud.db", "cloud.db-wal"):
            path = self.places.home / name
            digest.update(path.read_bytes() if path.exists() else b"")
        return digest.hexdigest()


class Tenant:
    """A project of its own: a user, a key, and what is made for it."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        identity = world.admin.identity
        found = identity.find_project(name)
        self.project = found or identity.create_project(name=name, domain_id="default")
        if not found:
            user = identity.create_user(name=name, password=PASSWORD, domain_id="default", default_project_id=self.project.id)
            identity.assign_project_role_to_user(self.project, user, identity.find_role("member", ignore_missing=False))
        self.conn = openstack.connect(
            auth_url=world.auth_url, username=name, password=PASSWORD, project_name=name, user_domain_id="default",
            project_domain_id="default", region_name="RegionOne", load_yaml_config=False, load_envvars=False,
        )  # fmt: skip
        self.key = world.places.home / f"demo/{name}-key"
        if not self.key.exists():
            shell("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)
        if found:  # a cloud that was kept
            self.group = self.conn.network.find_security_group("open", ignore_missing=False)
            return
        self.conn.compute.create_keypair(name="key", public_key=self.key.with_suffix(".pub").read_text().strip())
        self.group = self.conn.network.create_security_group(name="open", description="ssh and ping")
        self.allow(protocol="tcp", port_range_min=22, port_range_max=22)
        self.allow(protocol="icmp")

    def allow(self, **rule: Any) -> Any:
        """An ingress rule in our group."""
        return self.conn.network.create_security_group_rule(security_group_id=self.group.id, direction="ingress", **rule)

    def network(self, name: str, cidr: str = "10.50.0.0/24") -> tuple[Any, Any]:
        """A network, its subnet, and a router to the outside; made once."""
        network = self.conn.network.find_network(name)
        if network is None or network.name != name:
            network = self.conn.network.create_network(name=name)
            subnet = self.conn.network.create_subnet(network_id=network.id, name=name, ip_version=4, cidr=cidr)
            router = self.conn.network.create_router(name=name, external_gateway_info={"network_id": self.world.public.id})
            self.conn.network.add_interface_to_router(router, subnet_id=subnet.id)
        return network, self.conn.network.find_subnet(name, ignore_missing=False)

    def launch(self, name: str, network: Any, *, address: str | None = None, user_data: str = "", image: bool = True, **more: Any) -> str:
        """POST /servers; the id. Nothing is waited for."""
        card = {"uuid": network.id, **({"fixed_ip": address} if address else {})}
        body: dict[str, Any] = {"name": name, "flavor_id": self.world.flavor.id, "networks": [card], "key_name": "key",
                                "security_groups": [{"name": "open"}], **more}  # fmt: skip
        if image:
            body["image_id"] = body.get("image_id", self.world.image.id)
        if user_data:
            body["user_data"] = base64.b64encode(user_data.encode()).decode()
        return str(self.conn.compute.create_server(**body).id)

    def floating_ip(self, server_id: str) -> str:
        """A new floating address for a server's first port."""
        port = until(lambda: next(iter(self.conn.network.ports(device_id=server_id)), None), f"a port of {server_id}", 30)
        made = self.conn.network.create_ip(floating_network_id=self.world.public.id, port_id=port.id)
        return str(made.floating_ip_address)

    def guest(self, name: str, network: Any, **more: Any) -> Guest:
        """A server with a floating address, made unless it is there. Not waited for: `wait()`."""
        if (there := self.conn.compute.find_server(name)) is not None:
            (port,) = self.conn.network.ports(device_id=there.id)
            (address,) = self.conn.network.ips(port_id=port.id)
            return Guest(self.conn, there.id, address.floating_ip_address, self.key)
        server_id = self.launch(name, network, **more)
        return Guest(self.conn, server_id, self.floating_ip(server_id), self.key)

    def volume(self, name: str, **body: Any) -> Any:
        """A volume, once it is available."""
        made = self.conn.block_storage.create_volume(name=name, **{"size": 1, **body})
        return self.wait_volume(made.id, "available")

    def wait_volume(self, volume_id: str, *wanted: str, timeout_s: float = 60) -> Any:
        def there() -> Any:
            found = self.conn.block_storage.get_volume(volume_id)
            assert found.status in wanted or not found.status.startswith("error"), found.status
            return found if found.status in wanted else None

        return until(there, f"volume {volume_id} {'/'.join(wanted)}", timeout_s)


def new_nonce() -> str:
    return secrets.token_hex(16)


def names(things: Sequence[Any]) -> list[str]:
    return sorted(thing.name for thing in things)
