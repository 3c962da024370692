"""`moln node prefetch`: the operator's socket, a controller's real gate, and a node that joined, in one process."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import httpx
import msgspec
import pytest
from tests.kernel.test_nodes import Machine

from moln.cli import nodes
from moln.gate import openers
from moln.kernel.clock import Clock
from moln.kernel.http.certificates import private_pem
from moln.kernel.http.serve import http_server
from moln.kernel.link import Verbs
from moln.kernel.link.verbs import MemoryFences
from moln.kernel.nodes.gate import PORT_AFTER, GateClient
from moln.kernel.nodes.lending import AREA, FETCHING, Fetches, Lends
from moln.kernel.nodes.passport import Passport
from moln.kernel.nodes.remote import RemoteNodes
from moln.lenders import Lenders
from moln.local import admin_app
from moln.node.bases import Bases
from moln.node.lending import Borrowing, Lending
from moln.node.room import Room


class Operator:
    """Who asks on the controller's own socket; and the node's images."""

    def __init__(self, api, node: Bases, remote: RemoteNodes) -> None:
        self.api, self.node, self.remote = api, node, remote
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(admin_app(api.app)), base_url="http://admin")

    async def ask(self, method: str, image: str, node: str = "n9") -> tuple[int, str]:
        answer = await self.client.request(method, f"/images/{image}/nodes/{node}")
        return answer.status_code, answer.json().get("state") or answer.json()["message"]

    async def image(self, data: bytes = b"") -> tuple[str, str]:
        """The ids of an image and of its data."""
        made = (await self.api.member.post("/image/v2/images", json={"name": "i", "disk_format": "raw", "container_format": "bare"})).json()
        if data:
            headers = {"Content-Type": "application/octet-stream"}
            await self.api.member.put(f"/image/v2/images/{made['id']}/file", content=data, headers=headers)
            await self.api.settle()
        folder = self.api.cloud.home / self.api.cloud.settings.image.folder / "base"
        return made["id"], next((file.name for file in folder.iterdir() if data and file.read_bytes() == data), "")


@pytest.fixture
async def operator(api, tmp_path: Path) -> AsyncIterator[Operator]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cloud = api.cloud
    link = msgspec.structs.replace(cloud.settings.link, nats=["tls://127.0.0.1:1"], controller="c1")
    cloud.settings = msgspec.structs.replace(cloud.settings, link=link, listen="127.0.0.1", port=port - PORT_AFTER)
    remote = api.app.remote = RemoteNodes(cloud)
    await remote.start()
    machine = Machine("n9")
    admission = await remote.membership.enrol(machine.asks(await remote.membership.make_token()), frozenset())
    (tmp_path / "n9.pem").write_bytes(private_pem(machine.key) + admission.certificate.encode())
    passport = Passport(tmp_path / "n9.pem", remote.membership.authority.public)
    api.app.lenders = Lenders(cloud)
    await remote.open_gate(partial(openers, cloud, lenders=api.app.lenders))
    images, now_us = tmp_path / "n9/images", Clock().now_us
    node = Bases(images, GateClient("127.0.0.1", port, passport, now_us), Borrowing(passport, now_us), room=Room(images, lambda _: (1 << 40, 1 << 40)))
    node.prepare()
    verbs = {AREA: (Lends, Lending(node.folder)), FETCHING: (Fetches, node)}
    await cloud.links.join("n9", Verbs(verbs, MemoryFences(), now_us), {"streams": "127.0.0.1:1", "images": []})
    yield Operator(api, node, remote)
    await node.stop()


async def test_a_node_has_an_image_before_a_server_there_needs_it(operator: Operator) -> None:
    data = os.urandom(9000)
    image, name = await operator.image(data)
    assert await operator.ask("GET", image) == (200, "absent")
    assert await operator.ask("PUT", image) == (200, "coming")
    await operator.node.coming[name]
    assert (operator.node.folder / name).read_bytes() == data
    assert await operator.ask("PUT", image) == await operator.ask("GET", image) == (200, "here")


async def test_what_cannot_be_fetched_is_refused_with_the_reason(operator: Operator) -> None:
    image, _ = await operator.image(os.urandom(9000))
    queued, _ = await operator.image()
    for asked, node, status, why in (
        (queued, "n9", 400, "not active"), ("nonsense", "n9", 404, "no image nonsense"), (image, "sim-1", 404, "No node sim-1 has joined"),
        (image, "n9", 503, "n9 is not connected")):  # fmt: skip
        if status == 503:
            await operator.api.cloud.links.leave("n9")
        for method in ("GET", "PUT"):
            got = await operator.ask(method, asked, node)
            assert got[0] == status and why in got[1], got
    operator.api.app.remote = None
    assert "no nodes on other machines" in (await operator.ask("PUT", image))[1]
    operator.api.app.remote = operator.remote


async def test_the_command_has_all_nodes_fetch_it_and_tells_of_each(operator: Operator, capsys: pytest.CaptureFixture[str]) -> None:
    image, name = await operator.image(os.urandom(9000))
    home = operator.api.cloud.home
    (home / "run").mkdir(exist_ok=True)
    server = http_server(admin_app(operator.api.app), uds=str(home / "run/admin.sock"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.wait([serving], timeout=0.01)
    told = argparse.Namespace(home=home, image=image, names=[])
    assert await asyncio.to_thread(nodes.prefetch, told) == 0
    assert capsys.readouterr().out == "n9: here\n" and (operator.node.folder / name).exists()
    told.names = ["n9", "gone"]
    assert await asyncio.to_thread(nodes.prefetch, told) == 1
    assert capsys.readouterr().out == "n9: here\ngone: No node gone has joined.\n"
    server.should_exit = True
    await serving
