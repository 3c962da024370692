"""Images among three controllers without a shared folder: processes on one PostgreSQL and one NATS, each with a home of its own."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.node.test_joined_controllers import Controllers
from tests.node.test_remote_nodes import apis_port, eventually

from moln.cli import admin
from moln.host.places import Places
from moln.kernel.clock import Clock
from moln.kernel.nodes import sparse
from moln.kernel.nodes.gate import PORT_AFTER, GateClient
from moln.kernel.nodes.passport import Passport

pytestmark = pytest.mark.engines
DATA = os.urandom(12 << 20) + bytes(4 << 20) + os.urandom(1 << 20)


class Three(Controllers):
    """homes, ports: of each controller, by its name."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.homes = {"c1": self.home, "c2": folder / "c2", "c3": folder / "c3"}
        self.ports = {"c1": self.port, "c2": apis_port(), "c3": apis_port()}

    def add(self, name: str) -> None:
        done = self.moln("controller", "join", self.url, "--token", self.controller_token(), "--listen", "127.0.0.1", "--port", self.ports[name],
                         "--name", name, "--join-only", home=self.homes[name])  # fmt: skip
        assert done.returncode == 0, done.stderr
        self._start(name, "moln.controller", "--home", self.homes[name], "--port", self.ports[name], "--nodes", 0, "--name", name)

    def ask(self, name: str, method: str, path: str, **more: Any) -> httpx.Response:
        trusting = ssl.create_default_context(cafile=self.home / "tls/ca.crt")
        headers = {"X-Auth-Token": self.token_of_admin, **more.pop("headers", {})}
        return httpx.request(
            method, f"https://127.0.0.1:{self.ports[name]}/image/v2/{path}", headers=headers, verify=trusting, timeout=60, **more
        )

    def make(self, name: str) -> str:
        made = self.ask(name, "POST", "images", json={"name": "disk", "disk_format": "raw", "container_format": "bare"})
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    def files(self, name: str) -> list[str]:
        root = self.homes[name] / "pool/images"
        return sorted(f"{folder}/{file.name}" for folder in ("base", "data", "staged", "incoming", "ready", "uploads")
                      for file in (root / folder).iterdir() if not file.name.startswith("."))  # fmt: skip

    def wrong(self, name: str) -> list[str]:
        return [v["message"] for v in admin.ask(Places(self.homes[name]), "doctor")["violations"] if "image" in v["invariant"]]

    async def base(self, node: str, controller: str, name: str) -> bytes:
        """What a node gets at a controller's gate."""
        member = self.folder / node / "host/node/member"
        passport = Passport(member / "member.pem", member / "ca.crt")
        client = GateClient("127.0.0.1", self.ports[controller] + PORT_AFTER, passport, Clock().now_us)
        stream = await client.open("image.base", name)
        file = os.memfd_create("base")
        try:
            size = await sparse.take(stream.reader, file)
            return os.pread(file, size, 0)
        finally:
            stream.close()
            os.close(file)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    made = Three(tmp_path_factory.mktemp("three"))
    try:
        made.begin()
        made.client.call("GET", "/image/v2/images")
        made.token_of_admin = made.client._token
        made.add("c2")
        yield made
    finally:
        made.stop()


def test_what_one_took_is_had_at_the_other_at_once_and_kept_there(cloud: Three) -> None:
    cloud.image = cloud.make("c1")
    put = cloud.ask("c1", "PUT", f"images/{cloud.image}/file", content=DATA, headers={"Content-Type": "application/octet-stream"})
    assert put.status_code == 204, put.text
    assert cloud.ask("c2", "GET", f"images/{cloud.image}/file").content == DATA
    eventually(lambda: cloud.files("c2") == cloud.files("c1") != [], "its files come to the other")
    assert cloud.wrong("c1") == cloud.wrong("c2") == []


def test_a_node_gets_it_at_either(cloud: Three) -> None:
    assert cloud.boot("vm", "node-a")["status"] == "ACTIVE"
    wanted = [
        n for n in {file.partition("/")[2] for file in cloud.files("c1")} if (cloud.home / "pool/images/data" / n).stat().st_size == 1 << 20
    ]
    for controller in ("c1", "c2"):
        assert asyncio.run(cloud.base("node-a", controller, wanted[0])) == bytes(1 << 20)
    eventually(lambda: cloud.files("c2") == cloud.files("c1"), "and that image comes, too")
    (cloud.homes["c2"] / "pool/images/base" / wanted[0]).unlink()
    assert asyncio.run(cloud.base("node-a", "c2", wanted[0])) == bytes(1 << 20), "from the one that has it"
    assert any(f"raw base {wanted[0]} is missing at this controller" in said for said in cloud.wrong("c2"))
    cloud.ask("c1", "DELETE", f"images/{cloud.make('c1')}")  # a look at all files follows each delete
    eventually(lambda: cloud.files("c2") == cloud.files("c1"), "what was lost comes again")


def test_what_was_staged_at_one_is_imported_at_the_other(cloud: Three) -> None:
    octets = {"Content-Type": "application/octet-stream"}
    for number in range(6):  # whichever controller takes the task
        image = cloud.make("c1")
        assert cloud.ask("c1", "PUT", f"images/{image}/stage", content=DATA[number:], headers=octets).status_code == 204
        asked = cloud.ask("c2", "POST", f"images/{image}/import", json={"method": {"name": "glance-direct"}})
        assert asked.status_code == 202, asked.text
        eventually(lambda image=image: cloud.ask("c2", "GET", f"images/{image}").json()["status"] != "importing", "the import ends")
        assert cloud.ask("c2", "GET", f"images/{image}").json()["status"] == "active"
        assert (
            cloud.ask("c1", "GET", f"images/{image}/file").content
            == cloud.ask("c2", "GET", f"images/{image}/file").content
            == DATA[number:]
        )
    eventually(
        lambda: cloud.files("c1") == cloud.files("c2") and not any(f.startswith("staged") for f in cloud.files("c1")),
        "nothing is left over",
    )


def test_a_third_that_joins_has_all_of_it_by_itself(cloud: Three) -> None:
    cloud.add("c3")
    eventually(lambda: cloud.files("c3") == cloud.files("c1"), "everything comes")
    assert cloud.wrong("c3") == []


def test_the_others_have_it_whole_when_the_first_is_killed(cloud: Three) -> None:
    cloud.kill("controller")
    for controller in ("c2", "c3"):
        assert cloud.ask(controller, "GET", f"images/{cloud.image}/file").content == DATA
    late = cloud.make("c3")
    put = cloud.ask("c3", "PUT", f"images/{late}/file", content=DATA[::-1], headers={"Content-Type": "application/octet-stream"})
    assert put.status_code == 204
    assert cloud.ask("c2", "GET", f"images/{late}/file").content == DATA[::-1]


def test_what_is_deleted_goes_everywhere_also_where_it_is_heard_later(cloud: Three) -> None:
    before = set(cloud.files("c1"))
    assert cloud.ask("c2", "DELETE", f"images/{cloud.image}").status_code == 204
    eventually(lambda: len(cloud.files("c2")) == len(cloud.files("c3")) == len(before), "one went and one had come")
    cloud.start_controller()
    eventually(lambda: cloud.files("c1") == cloud.files("c2"), "the first has what came meanwhile, and not what went")
    assert set(cloud.files("c1")) != before
    eventually(lambda: cloud.wrong("c1") == cloud.wrong("c2") == cloud.wrong("c3") == [], "all is as rows say")
