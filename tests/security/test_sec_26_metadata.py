"""SEC-26 (OSSA-2013-033, CVE-2013-6419): a guest learns of its own server, whatever it sends; two tenants have the same addresses.

Through the node's real proxy and the controller's real socket. tests/e2e/test_tenants.py does it from inside real guests.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.compute.world import World, world  # noqa: F401 (a fixture)

from moln.kernel.http.serve import http_server
from moln.local import metadata_app
from moln.node.metadata_proxy import Proxy

SHARED = "10.1.0.10"  # the address that both servers have, each on its own network
META = "/openstack/latest/meta_data.json"


class Guests:
    """Two tenants' servers with one address. ask(): as the proxy hears one of them through its network's socket."""

    def __init__(self, mine: tuple[str, str], theirs: tuple[str, str], proxy: Proxy):
        (self.server, self.network), (self.other, self.other_network) = mine, theirs
        self._proxy = proxy

    async def ask(self, network: str, target: str, *headers: str, peer: str = SHARED, method: str = "GET") -> tuple[int, bytes]:
        reader = asyncio.StreamReader()
        reader.feed_data("\r\n".join([f"{method} {target} HTTP/1.1", "Host: 169.254.169.254", *headers, "", ""]).encode("latin-1"))
        reader.feed_eof()
        head, _, body = (await self._proxy.answer(network, reader, peer)).partition(b"\r\n\r\n")
        return int(head.split()[1]), body

    async def told(self, network: str, target: str = META, *headers: str, peer: str = SHARED) -> Any:
        status, body = await self.ask(network, target, *headers, peer=peer)
        return json.loads(body)["uuid"] if status == 200 else status


@pytest.fixture
async def guests(world: World, tmp_path: Path) -> AsyncIterator[Guests]:  # noqa: F811
    mine = await world.boot(networks=[{"uuid": world.network, "fixed_ip": SHARED}], metadata={"secret": "of alice"})
    mallory = await world.api.add_user("mallory", project="other")
    network = (await mallory.post("/network/v2.0/networks", json={"network": {"name": "net"}})).json()["network"]["id"]
    subnet = {"network_id": network, "cidr": "10.1.0.0/24", "ip_version": 4}
    assert (await mallory.post("/network/v2.0/subnets", json={"subnet": subnet})).status_code == 201
    body = {"name": "evil", "flavorRef": world.small, "imageRef": world.image, "networks": [{"uuid": network, "fixed_ip": SHARED}]}
    made = await mallory.post("/compute/v2.1/servers", json={"server": body}, headers={"OpenStack-API-Version": "compute 2.90"})
    assert made.status_code == 202, made.text
    await world.settle()
    socket = tmp_path / "m.sock"
    server = http_server(metadata_app(world.api.app), uds=str(socket))
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        while not server.started:
            await asyncio.sleep(0.01)
    yield Guests((mine["id"], world.network), (made.json()["server"]["id"], network), Proxy(str(socket)))
    server.should_exit = True
    await serving


async def test_the_same_address_on_two_networks_is_two_servers(guests: Guests) -> None:
    assert await guests.told(guests.network) == guests.server
    assert await guests.told(guests.other_network) == guests.other


async def test_forged_headers_change_nothing(guests: Guests) -> None:
    lies = [
        f"X-Instance-ID: {guests.server}", f"X-Instance-ID-Signature: {'0' * 64}", "X-Tenant-ID: demo", "X-Forwarded-For: 10.1.0.10",
        f"X-OVN-Network-ID: {guests.network}", f"X-Neutron-Network-ID: {guests.network}", f"X-Neutron-Router-ID: {guests.network}",
        "X-Real-IP: 10.1.0.10", "Forwarded: for=10.1.0.10", f"X-Metadata-Provider: {guests.network}", f"Host: {guests.network}",
        f"X-Original-URL: /{guests.network}/{SHARED}{META}", f"X-HTTP-Method-Override: /{guests.network}",
    ]  # fmt: skip
    assert await guests.told(guests.other_network, META, *lies) == guests.other


async def test_no_path_leads_to_another_network(guests: Guests) -> None:
    theirs = f"{guests.network}/{SHARED}"
    paths = [
        f"/../../{theirs}{META}", f"/%2e%2e/%2e%2e/{theirs}{META}", f"/..%2f..%2f{theirs}{META}", f"//{theirs}{META}", f"/{theirs}{META}",
        f"http://{theirs}{META}", f"http://x/../../{theirs}{META}", f"/?x=/{theirs}{META}", f"/openstack/latest/../../../../{theirs}{META}",
        f"/;/../{theirs}{META}", f"/%00/{theirs}{META}", f"/a%0d%0aGET%20/{theirs}{META}", "/" + "../" * 200 + theirs + META,
    ]  # fmt: skip
    for path in paths:
        status, body = await guests.ask(guests.other_network, path)
        assert guests.server.encode() not in body and b"of alice" not in body and status in (200, 400, 404), path
        assert await guests.told(guests.other_network, META) == guests.other


async def test_a_second_request_behind_the_first_is_not_carried(guests: Guests) -> None:
    behind = f"GET /{guests.network}/{SHARED}{META} HTTP/1.1\r\nHost: x"
    for smuggled in (f"Content-Length: 0\r\n\r\n{behind}", f"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{behind}", f"X: y\n\n{behind}"):
        status, body = await guests.ask(guests.other_network, META, smuggled)
        assert status == 200 and json.loads(body)["uuid"] == guests.other


async def test_a_port_that_says_it_is_anothers_server_learns_nothing(guests: Guests, world: World) -> None:  # noqa: F811
    """device_id is the tenant's to set; only a server that has the port itself is told."""
    mallory = await world.api.add_user("eve", project="other")
    for address, owner in (("10.1.0.66", "compute:nova"), ("10.1.0.67", "compute:kvm"), ("10.1.0.68", "")):
        port = {"network_id": guests.other_network, "fixed_ips": [{"ip_address": address}], "device_id": guests.server, "device_owner": owner}
        made = await mallory.post("/network/v2.0/ports", json={"port": port})
        assert made.status_code in (201, 403), made.text
        assert await guests.told(guests.other_network, peer=address) == 404


async def test_addresses_that_no_server_has_learn_nothing(guests: Guests) -> None:
    for peer in ("10.1.0.1", "10.1.0.2", "10.1.0.250", "::1", "fe80::1%eth0", "::ffff:10.1.0.10", "0.0.0.0", "255.255.255.255", "../" + SHARED, ""):
        assert await guests.told(guests.other_network, peer=peer) in (400, 404), peer
    for network in ("", "..", "no-such", guests.server):
        assert await guests.told(network) in (400, 404), network


async def test_only_questions_are_carried(guests: Guests) -> None:
    for method in ("POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE"):
        assert (await guests.ask(guests.other_network, META, method=method))[0] == 405
