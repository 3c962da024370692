"""A second controller that joined with a token: processes on one PostgreSQL, one NATS and the same nodes; the first is killed while servers boot."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import ssl
import stat
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.kernel.etcd_server import EtcdServer
from tests.node.test_remote_nodes import Machines, apis_port, eventually
from tests.postgres import Server

from moln.cli import admin
from moln.demo.client import Client, DemoError
from moln.host.places import Places
from moln.kernel.controllers import heritage

pytestmark = pytest.mark.engines
SERVERS = 24


class Controllers(Machines):
    """The first controller as in Machines, but on PostgreSQL; `second` is what joins."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.postgres = Server(lasting=True)
        self.etcd = EtcdServer(self.home)
        self.second = folder / "second"
        self.second_port = apis_port()
        self.second_url = f"https://127.0.0.1:{self.second_port}"

    def begin(self) -> None:
        self.nats.start()
        self.etcd.start()
        url = asyncio.run(self.postgres.empty())
        policy = self.home / "policy"
        policy.mkdir()
        (policy / "compute.yaml").write_text('"os_compute_api:servers:create:forced_host": "rule:context_is_admin"\n')
        (self.home / "moln.toml").write_text(
            f'database_url = "{url}"\nlog_level = "info"\n[link]\nnats = ["{self.nats.urls[0]}"]\netcd = ["{self.etcd.url}"]\ncontroller = "c1"\n[compute]\nclock_limit_ms = 700\n'
        )
        self.start_controller()
        self.password = (self.home / "admin.password").read_text().strip()
        self.client = self.signed_in(self.url, self.home)
        for name in ("node-a", "node-b"):
            done = self.join(name, self.token())
            assert done.returncode == 0, done.stderr
            self.start_node(name)
        self.until(**{"node-a": "up", "node-b": "up"})

    def signed_in(self, url: str, home: Path) -> Client:
        return Client(url, user="admin", password=self.password, project="admin", cacert=str(home / "tls/ca.crt"))

    def controller_token(self, *arguments: object) -> str:
        done = self.moln("controller", "token", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def join_controller(self, token: str, home: Path, name: str = "c2", url: str = "") -> subprocess.CompletedProcess[str]:
        return self.moln("controller", "join", url or self.url, "--token", token, "--listen", "127.0.0.1", "--port", self.second_port,
                         "--name", name, "--join-only", home=home)  # fmt: skip

    def start_second(self) -> None:
        (self.second / "pool").mkdir(exist_ok=True)
        if not (self.second / "pool/images").exists():  # the folder that controllers share
            (self.second / "pool/images").symlink_to(self.home / "pool/images")
        self._start("second", "moln.controller", "--home", self.second, "--port", self.second_port, "--nodes", 0, "--name", "c2")

    def stop(self) -> None:
        super().stop()
        self.etcd.stop()
        self.postgres.remove()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controllers]:
    made = Controllers(tmp_path_factory.mktemp("controllers"))
    try:
        made.begin()
        yield made
    finally:
        made.stop()


def test_only_a_fresh_token_of_a_controller_makes_one(cloud: Controllers, tmp_path: Path) -> None:
    good = cloud.controller_token()
    secret, _, fingerprint = good.partition(".")
    said = set()
    for token in (cloud.token(), f"{secret[::-1]}.{fingerprint}"):
        done = cloud.join_controller(token, tmp_path / "refused")
        assert done.returncode == 1 and not (tmp_path / "refused/moln.toml").exists() and not (tmp_path / "refused/keys").exists()
        said.add(done.stderr)
    assert len(said) == 1 and "of a node, was used, or is too old" in said.pop()
    done = cloud.join("node-x", good)
    assert done.returncode == 1 and "is not good" in done.stderr, "a controller's token makes no node"
    done = cloud.join_controller(f"{secret}.{fingerprint[::-1]}", tmp_path / "elsewhere")
    assert done.returncode == 1 and "The token was not sent" in done.stderr

    done = cloud.join_controller(good, cloud.second)
    assert done.returncode == 0, done.stderr
    done = cloud.join_controller(good, tmp_path / "again", name="c3")
    assert done.returncode == 1 and "was used" in done.stderr
    done = cloud.join_controller(cloud.controller_token(), tmp_path / "same", name="c1")
    assert done.returncode == 1 and "There is a controller c1" in done.stderr
    done = cloud.join_controller(cloud.controller_token(), cloud.second, name="c3")
    assert done.returncode == 1 and "has a cloud or its settings already" in done.stderr


def test_what_it_was_given_is_what_controllers_share_and_private(cloud: Controllers) -> None:
    there, here = heritage.files(cloud.home), heritage.files(cloud.second)
    assert here == there and {"tls/ca.pem", "nats/account.pem", "controllers/ca.pem", "policy/compute.yaml", "admin.password"} <= here.keys()
    assert any(name.startswith("keys/") for name in here) and any(name.startswith("credential-keys/") for name in here)
    assert {stat.S_IMODE((cloud.second / name).stat().st_mode) for name in [*here, "moln.toml"]} == {0o600}
    text = (cloud.second / "moln.toml").read_text()
    assert "database_url" in text and "clock_limit_ms = 700" in text and "log_level" not in text and "c1" not in text


def test_both_answer_for_the_same_cloud_and_command_the_same_nodes(cloud: Controllers) -> None:
    cloud.start_second()
    listed = cloud.moln("controller", "list", home=cloud.second).stdout.splitlines()
    assert [line.split("\t")[:3] for line in listed] == [["c1", cloud.url, "up"], ["c2", cloud.second_url, "up"]]
    other = cloud.signed_in(cloud.second_url, cloud.second)
    path = "/compute/v2.1/os-services?binary=nova-compute"
    eventually(lambda: [s["state"] for s in other.call("GET", path)["services"]] == ["up", "up"], "it hears the nodes")
    for node in ("node-a", "node-b"):
        file = cloud.folder / node / "host/node/member/controllers.json"
        eventually(lambda file=file: file.exists() and cloud.second_url in file.read_text(), "nodes hear where controllers are")
    token = cloud.client._token
    context = ssl.create_default_context(cafile=str(cloud.second / "tls/ca.crt"))
    answer = httpx.get(f"{cloud.second_url}/compute/v2.1/servers", headers={"X-Auth-Token": token}, verify=context)
    assert answer.status_code == 200, "a token of the first is good at the second"
    assert cloud.boot("before", "node-a")["status"] == "ACTIVE"


def test_the_second_ends_what_the_first_began_when_it_was_killed(cloud: Controllers) -> None:
    client = cloud.client
    image = client.call("GET", "/image/v2/images")["images"][0]["id"]
    flavor = client.call("GET", "/compute/v2.1/flavors")["flavors"][0]["id"]
    network = client.call("GET", "/network/v2.0/networks?name=private")["networks"][0]["id"]
    asked = {"server": {"name": "vm", "imageRef": image, "flavorRef": flavor, "networks": [{"uuid": network}]}}
    other = cloud.signed_in(cloud.second_url, cloud.second)
    project = client.call("GET", "/identity/v3/auth/projects")["projects"][0]["id"]
    client.call("PUT", f"/compute/v2.1/os-quota-sets/{project}", {"quota_set": {"instances": -1, "cores": -1, "ram": -1}})
    answered: set[str] = set()
    enough = threading.Event()

    def boot(number: int) -> None:
        with contextlib.suppress(DemoError):  # a request that nobody answered may or may not be there
            answered.add((client, other)[number % 2].call("POST", "/compute/v2.1/servers", asked)["server"]["id"])
            if len(answered) >= SERVERS // 2:
                enough.set()

    with ThreadPoolExecutor(8) as pool:
        for number in range(SERVERS):
            pool.submit(boot, number)
        assert enough.wait(60)
        cloud.kill("controller")
    with pytest.raises(DemoError):
        client.call("GET", "/compute/v2.1/servers")

    def settled() -> dict[str, Any]:
        listed = other.call("GET", "/compute/v2.1/servers/detail?limit=1000")["servers"]
        status = {s["id"]: s["status"] for s in listed}
        return status if answered <= status.keys() and "BUILD" not in status.values() else {}

    status = eventually(settled, "every server that was promised comes to its end")
    assert set(status.values()) == {"ACTIVE"}, collections.Counter(status.values())
    ports = other.call("GET", "/network/v2.0/ports?device_owner=compute:nova")["ports"]
    assert collections.Counter(p["device_id"] for p in ports) == collections.Counter(dict.fromkeys(status, 1))

    def found() -> list[str]:
        return [v["message"] for v in admin.ask(Places(cloud.second), "doctor")["violations"]]

    eventually(lambda: [f"Controller c1 ({cloud.url}) gives no sign of life."] == found(), "the first is missed, and nothing else")


def test_a_node_that_dies_is_noticed_when_etcd_is_back_and_not_before(cloud: Controllers) -> None:
    other = cloud.signed_in(cloud.second_url, cloud.second)

    def states() -> dict[str, str]:
        return {s["host"]: s["state"] for s in other.call("GET", "/compute/v2.1/os-services?binary=nova-compute")["services"]}

    def warned() -> int:
        return (cloud.folder / "second.log").read_text().count("leases of nodes cannot be kept")

    assert asyncio.run(cloud.etcd.client().all("nodes/")).keys() == {"node-a", "node-b"}
    cloud.etcd.stop()
    cloud.kill("node-b")
    at = warned()
    eventually(lambda: warned() >= at + 9, "more than 20 s went by, and nobody could be asked")  # it looks every 2.5 s
    assert states() == {"node-a": "up", "node-b": "up"}
    assert other.call("GET", "/compute/v2.1/servers/detail?limit=1000")["servers"]
    cloud.etcd.start()
    eventually(lambda: states() == {"node-a": "up", "node-b": "down"}, "its lease is over")


def test_a_dead_controller_is_forgotten_and_its_name_may_be_taken_again(cloud: Controllers, tmp_path: Path) -> None:
    assert cloud.moln("controller", "remove", "c2", home=cloud.second).returncode == 1  # itself
    assert f"clients are told {cloud.url}, where nobody answers" in cloud.moln("doctor", home=cloud.second).stdout
    done = cloud.moln("controller", "remove", "c1", home=cloud.second)
    assert done.returncode == 0 and "still has the keys" in done.stdout
    assert f"Clients are told {cloud.url} still" in done.stdout  # no other public_url was ever written
    done = cloud.moln("controller", "token", home=cloud.second)
    assert done.returncode == 0, done.stderr
    done = cloud.join_controller(done.stdout.strip(), tmp_path / "new", name="c1", url=cloud.second_url)
    assert done.returncode == 0, done.stderr
    assert heritage.files(tmp_path / "new") == heritage.files(cloud.second)


def test_no_log_holds_a_secret(cloud: Controllers) -> None:
    for file in cloud.folder.glob("*.log"):
        text = file.read_text()
        assert cloud.password not in text and "PRIVATE KEY" not in text
