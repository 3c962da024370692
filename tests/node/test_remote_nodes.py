"""Nodes as processes of their own that joined over the network: a controller, a real nats-server, and two nodes with fake drivers."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.compute.consoles import pages  # noqa: F401 (a fixture)
from tests.kernel.nats_server import NatsServer
from tests.postgres import Server, binaries
from websockets.asyncio.client import connect

from moln.bench.process import lasting_port
from moln.cli import admin
from moln.demo.client import Client
from moln.host.places import Places
from moln.kernel.http import certificates
from moln.kernel.nodes.gate import PORT_AFTER

pytestmark = pytest.mark.engines
WAIT_S = 60.0


def eventually(ask: Callable[[], Any], what: str) -> Any:
    """The first true answer."""
    ends = time.monotonic() + WAIT_S
    while not (found := ask()):
        assert time.monotonic() < ends, what
        time.sleep(0.05)
    return found


def apis_port() -> int:
    """Free together with the gate's."""
    return lasting_port(PORT_AFTER)


class Machines:
    """One controller and as many nodes as are added, each with a home of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.home = folder / "controller"
        self.home.mkdir()
        self.nats = NatsServer(self.home)  # the keys and the authority that the controller then finds
        self.port = apis_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        self.nats.start()
        (self.home / "moln.toml").write_text(f'[link]\nnats = ["{self.nats.urls[0]}"]\ncontroller = "c1"\n')
        self.start_controller()
        password = (self.home / "admin.password").read_text().strip()
        self.client = Client(self.url, user="admin", password=password, project="admin", cacert=str(self.home / "tls/ca.crt"))

    def start_controller(self) -> None:
        self._start("controller", "moln.controller", "--home", self.home, "--port", self.port, "--simulate", "--nodes", 0, "--tls")

    def _start(self, name: str, module: str, *arguments: object) -> None:
        read, write = os.pipe()
        with open(self.folder / f"{name}.log", "ab") as log:
            command = [sys.executable, "-m", module, *map(str, arguments)]
            self.processes[name] = subprocess.Popen(command, env={**os.environ, "MOLN_READY_FD": str(write)}, pass_fds=[write], stderr=log)
        os.close(write)
        with open(read) as ready:
            assert ready.read() == "ready\n", self.log(name)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def moln(self, *arguments: object, home: Path | None = None) -> subprocess.CompletedProcess[str]:
        program = "import sys; from moln.cli import main; sys.exit(main())"
        command = [sys.executable, "-c", program, *map(str, arguments), "--home", str(home or self.home)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def token(self) -> str:
        done = self.moln("node", "token")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def join(self, name: str, token: str, url: str = "") -> subprocess.CompletedProcess[str]:
        return self.moln("node", "join", url or self.url, "--token", token, "--join-only", "--name", name, "--address", f"127.0.0.1:{lasting_port()}",
                         home=self.folder / name)  # fmt: skip

    def start_node(self, name: str) -> None:
        pool = self.folder / name / "pool"
        pool.mkdir(exist_ok=True)
        if not (pool / "images").exists():  # how images come to other machines is not this link's business
            (pool / "images").symlink_to(self.home / "pool/images")
        self._start(name, "moln.node", "--home", self.folder / name, "--simulate")

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait(30)
        self.nats.stop()

    def states(self) -> dict[str, str]:
        services = self.client.call("GET", "/compute/v2.1/os-services?binary=nova-compute")["services"]
        return {s["host"]: s["state"] for s in services}

    def until(self, **states: str) -> None:
        eventually(lambda: states.items() <= self.states().items(), f"{states}, not {self.states()}")

    def found(self, invariant: str) -> list[str]:
        """What `moln doctor` has against the cloud."""
        return [v["message"] for v in admin.ask(Places(self.home), "doctor")["violations"] if v["invariant"] == invariant]

    def boot(self, name: str, host: str) -> dict[str, Any]:
        client = self.client
        image = client.ensure_plain("/image/v2/images?name=tiny", "tiny", {"disk_format": "raw", "container_format": "bare"})
        if image["status"] == "queued":
            file = self.folder / "tiny"
            file.write_bytes(bytes(1 << 20))
            client.upload(f"/image/v2/images/{image['id']}/file", file)
        flavor = client.ensure("flavor", "/compute/v2.1/flavors", "small", {"ram": 64, "vcpus": 1, "disk": 1})["id"]
        network = client.ensure("network", "/network/v2.0/networks", "private", {})
        client.ensure("subnet", "/network/v2.0/subnets", "private", {"network_id": network["id"], "ip_version": 4, "cidr": "10.7.0.0/24"})
        asked = {"name": name, "imageRef": image["id"], "flavorRef": flavor, "networks": [{"uuid": network["id"]}], "host": host}
        made = client.call("POST", "/compute/v2.1/servers", {"server": asked})["server"]
        return self.settled(made["id"])

    def settled(self, id: str) -> dict[str, Any]:
        path = f"/compute/v2.1/servers/{id}"
        return eventually(lambda: (s := self.client.call("GET", path)["server"])["status"] in ("ACTIVE", "ERROR") and s, f"{id} settles")


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    made = Machines(tmp_path_factory.mktemp("machines"))
    try:
        made.start()
        for name in ("node-a", "node-b.example"):
            done = made.join(name, made.token())
            assert done.returncode == 0, done.stderr
            made.start_node(name)
        made.until(**{"node-a": "up", "node-b.example": "up"})
        yield made
    finally:
        made.stop()


def test_servers_boot_on_both(machines: Machines) -> None:
    for host in ("node-a", "node-b.example"):
        server = machines.boot(f"on-{host}", host)
        assert (server["status"], server["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", host), server


def test_a_node_with_servers_is_not_removed_by_mistake(machines: Machines) -> None:
    done = machines.moln("node", "remove", "node-a")
    assert done.returncode == 1 and "Servers on node node-a: 1." in done.stderr and "--force" in done.stderr, done
    assert machines.moln("node", "remove", "nobody").returncode == 1
    machines.until(**{"node-a": "up"})


async def test_a_console_of_a_server_on_another_machine(pages: None, machines: Machines) -> None:  # noqa: F811
    server = machines.client.call("GET", "/compute/v2.1/servers/detail?name=on-node-b.example")["servers"][0]
    asked = {"remote_console": {"protocol": "serial", "type": "serial"}}
    url = machines.client.call("POST", f"/compute/v2.1/servers/{server['id']}/remote-consoles", asked)["remote_console"]["url"]
    path = parse_qs(urlsplit(url).query)["path"][0]
    trusting = ssl.create_default_context(cafile=machines.home / "tls/ca.crt")
    async with connect(f"wss://127.0.0.1:{machines.port}/{path}", ssl=trusting, subprotocols=["binary"], proxy=None) as console:
        heard = b""
        async with asyncio.timeout(30):
            while b"login: " not in heard:
                heard += await console.recv(decode=False)


def test_what_a_node_holds_is_its_own(machines: Machines) -> None:
    folder = machines.folder / "node-a/host/node/member"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {f.name for f in folder.iterdir()} == {"ca.crt", "joined.json", "member.pem", "nats.jwt", "nats.pem"}
    assert {stat.S_IMODE(f.stat().st_mode) for f in folder.iterdir()} == {0o600}
    assert b"PRIVATE KEY" not in (machines.home / "cloud.db").read_bytes()


def test_a_used_a_wrong_and_an_expired_token_are_refused_alike(machines: Machines) -> None:
    used = machines.token()
    assert machines.join("node-c", used).returncode == 0
    secret, _, fingerprint = used.partition(".")
    said = set()
    for token in (used, f"{secret[::-1]}.{fingerprint}"):
        done = machines.join("node-d", token)
        assert done.returncode == 1
        said.add(done.stderr)
    assert len(said) == 1 and "mistyped, was used, or is too old" in said.pop()
    assert machines.moln("node", "remove", "node-c").returncode == 0


def test_a_token_of_another_cloud_is_not_sent(machines: Machines) -> None:
    secret, _, fingerprint = machines.token().partition(".")
    done = machines.join("node-e", f"{secret}.{fingerprint[::-1]}")
    assert done.returncode == 1 and "The token was not sent" in done.stderr, done.stderr
    assert not (machines.folder / "node-e/host/node/member/joined.json").exists()
    assert machines.join("node-e", f"{secret}.{fingerprint}").returncode == 0  # it is still good
    assert machines.moln("node", "remove", "node-e").returncode == 0


def test_the_name_of_another_node_cannot_be_taken(machines: Machines) -> None:
    token = machines.token()
    machines.folder.joinpath("thief").mkdir()
    done = machines.moln("node", "join", machines.url, "--token", token, "--name", "node-a", home=machines.folder / "thief")
    assert done.returncode == 1 and "moln node remove node-a" in done.stderr
    assert machines.states()["node-a"] == "up"


def test_a_controller_that_died_finds_its_nodes_again(machines: Machines) -> None:
    machines.kill("controller")
    machines.start_controller()
    machines.until(**{"node-a": "up", "node-b.example": "up"})
    assert machines.boot("after-the-controller", "node-a")["status"] == "ACTIVE"


def test_servers_asked_for_while_nats_is_gone_are_made_when_it_is_back(machines: Machines) -> None:
    assert machines.found("nats-is-there") == []
    machines.nats.stop()
    assert "NATS cannot be reached" in eventually(lambda: machines.found("nats-is-there"), "doctor says so")[0]
    client = machines.client
    seen = client.call("GET", "/compute/v2.1/servers/detail?name=on-node-a")["servers"][0]
    assert seen["status"] == "ACTIVE"  # no state is lost
    image, network = seen["image"]["id"], client.call("GET", "/network/v2.0/networks?name=private")["networks"][0]["id"]
    flavor = client.call("GET", "/compute/v2.1/flavors")["flavors"][0]["id"]
    asked = {"name": "meanwhile", "imageRef": image, "flavorRef": flavor, "networks": [{"uuid": network}]}
    made = client.call("POST", "/compute/v2.1/servers", {"server": asked})["server"]
    machines.nats.start()
    assert machines.settled(made["id"])["status"] == "ACTIVE"


def test_a_node_that_died_is_shown_down_and_comes_back(machines: Machines) -> None:
    machines.kill("node-b.example")
    machines.until(**{"node-b.example": "down", "node-a": "up"})
    machines.start_node("node-b.example")
    machines.until(**{"node-b.example": "up"})


def test_a_removed_node_is_gone_and_stays_away(machines: Machines) -> None:
    done = machines.join("node-f", machines.token())
    assert done.returncode == 0, done.stderr
    machines.start_node("node-f")
    machines.until(**{"node-f": "up"})
    done = machines.moln("node", "remove", "node-f")
    assert done.returncode == 0 and "NATS" not in done.stdout, done
    assert "node-f" not in machines.states()
    eventually(lambda: "Authorization Violation" in machines.log("node-f"), "NATS refuses it")
    assert "node-f" not in [line.split("\t")[0] for line in machines.moln("node", "list").stdout.splitlines()]
    machines.kill("node-f")
    shutil.rmtree(machines.folder / "node-f/host/node/member")
    assert machines.join("node-f", machines.token()).returncode == 0  # with a new token it may come again
    machines.start_node("node-f")
    machines.until(**{"node-f": "up"})


def test_a_node_leaves_by_itself_unless_the_cloud_has_servers_there(machines: Machines) -> None:
    done = machines.moln("node", "leave", home=machines.folder / "node-a")
    assert done.returncode == 1 and "Servers on node node-a: " in done.stderr, done.stderr
    assert machines.join("node-g", machines.token()).returncode == 0
    machines.start_node("node-g")
    machines.until(**{"node-g": "up"})
    folder = machines.folder / "node-g/host/node/member"
    assert folder.exists()
    stolen = shutil.copytree(machines.folder / "node-g", machines.folder / "stolen-g")

    done = machines.moln("node", "leave", home=machines.folder / "node-g")
    assert done.returncode == 0 and "refuses node node-g from now on." in done.stdout, done.stderr
    assert not folder.exists()
    eventually(lambda: "node-g" not in machines.states(), "its host is gone")
    assert "node-g" not in machines.moln("node", "list").stdout
    machines.kill("node-g")
    done = machines.moln("node", "leave", home=stolen)  # what it was admitted by is worth nothing
    assert done.returncode == 1 and "say --force" in done.stderr, done.stderr
    assert machines.join("node-g", machines.token()).returncode == 0  # and a new token makes it one again
    assert machines.moln("node", "remove", "node-g").returncode == 0


def test_a_certificate_that_ends_soon_is_renewed_over_the_link(machines: Machines) -> None:
    assert machines.join("node-h", machines.token()).returncode == 0
    file = machines.folder / "node-h/host/node/member/member.pem"
    key, ago = certificates.private_key(file.read_bytes()), datetime.now(UTC) - timedelta(days=certificates.MEMBER_DAYS - 5)
    old = machines.nats.ca.sign(key.public_key(), "node", "node-h", ago)
    certificates.put(file, certificates.private_pem(key) + old.public_bytes(Encoding.PEM))
    machines.start_node("node-h")

    def renewed() -> bool:
        _, found = certificates.read(file)
        return found is not None and found.not_valid_after_utc > datetime.now(UTC) + timedelta(days=certificates.MEMBER_DAYS - 5)

    eventually(renewed, machines.log("node-h"))
    found, _ = certificates.read(file)
    assert found is not None and found.private_numbers() != key.private_numbers()
    machines.kill("node-h")
    machines.start_node("node-h")  # what was given is good
    machines.until(**{"node-h": "up"})


def test_certificates_are_replaced_when_asked_for(machines: Machines) -> None:
    files = {"apis": machines.home / "tls/server.pem", "c1": machines.home / "tls/controller.pem",
             "node-a": machines.folder / "node-a/host/node/member/member.pem"}  # fmt: skip
    shown = machines.moln("certificates").stdout
    assert [line.split()[0] for line in shown.splitlines()][:3] == ["authority", "apis", "controller"] and "node-a" in shown, shown
    for name, file in files.items():
        _, before = certificates.read(file)
        done = machines.moln("certificates", "renew", name)
        assert done.returncode == 0 and f"{name} has another certificate" in done.stdout, done.stderr
        _, after = certificates.read(file)
        assert before is not None and after is not None and before.serial_number != after.serial_number
    shows = ssl.create_default_context(cafile=str(machines.home / "tls/ca.crt"))
    with socket.create_connection(("127.0.0.1", machines.port)) as plain, shows.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
        assert int(str((tls.getpeercert() or {})["serialNumber"]), 16) == certificates.read(files["apis"])[1].serial_number  # type: ignore[union-attr]
    machines.kill("node-a")
    machines.start_node("node-a")  # what was given is good
    machines.until(**{"node-a": "up"})
    assert machines.moln("certificates", "renew", "nobody").returncode == 1


def test_no_log_holds_a_secret(machines: Machines) -> None:
    token = machines.token()
    assert machines.join("node-quiet", token).returncode == 0
    for file in machines.folder.glob("*.log"):
        assert token.partition(".")[0] not in file.read_text()
    assert json.loads((machines.folder / "node-quiet/host/node/member/joined.json").read_text())["name"] == "node-quiet"


@pytest.mark.skipif(binaries() is None, reason="no PostgreSQL here: Debian's package is `postgresql`")
def test_a_cloud_that_grows_keeps_its_nodes(machines: Machines) -> None:
    """The last of them: the controller goes on over another database, and NATS and the gate with it."""
    url = asyncio.run(Server(lasting=True).empty())
    before = machines.boot("before", "node-a")
    done = machines.moln("grow", "--to", url)
    assert done.returncode == 0 and "Writes paused for" in done.stdout, done.stderr
    assert url in (machines.home / "moln.toml").read_text() and "nats" in (machines.home / "moln.toml").read_text()
    machines.until(**{"node-a": "up", "node-b.example": "up"})
    assert machines.settled(before["id"])["status"] == "ACTIVE"
    after = machines.boot("after", "node-b.example")
    assert (after["status"], after["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", "node-b.example"), after
    assert machines.join("node-late", machines.token()).returncode == 0
    machines.kill("controller")
    machines.start_controller()  # as its supervisor does: over what moln.toml says
    machines.until(**{"node-a": "up", "node-b.example": "up"})
    assert machines.settled(after["id"])["status"] == "ACTIVE"
    assert not (machines.home / "cloud.db").exists()
