"""Ports of floating addresses forwarded to guests, as Neutron's clients see it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.wire.areas import AreaApi
from tests.wire.network.conftest import Client, Inside, Outside


@pytest.fixture
async def port(alice: Client, inside: Inside) -> Any:
    return await alice.make("ports", network_id=inside.network["id"], name="guest")


@pytest.fixture
async def fip(alice: Client, outside: Outside, inside: Inside) -> Any:
    return await alice.make("floatingips", floating_network_id=outside.network["id"])


def rows(neutron: AreaApi) -> list[Any]:
    return [r for r in neutron.cloud.areas["network"].driver.engine.rows.values() if r.table == "Load_Balancer"]


async def test_a_port_is_forwarded(alice: Client, neutron: AreaApi, fip: Any, port: Any, inside: Inside) -> None:
    path, address = f"floatingips/{fip['id']}/port_forwardings", port["fixed_ips"][0]["ip_address"]
    one = await alice.make(path, protocol="TCP", external_port=2222, internal_port=22, internal_port_id=port["id"], description="ssh")
    assert one == {
        "id": one["id"], "protocol": "tcp", "internal_port_id": port["id"], "internal_ip_address": address, "external_port": 2222,
        "external_port_range": "2222:2222", "internal_port": 22, "internal_port_range": "22:22", "description": "ssh",
    }  # fmt: skip
    shown = await alice.show("floatingips", fip["id"])
    assert shown["router_id"] == inside.router["id"] and shown["port_id"] is None and shown["status"] == "ACTIVE"
    assert [f["id"] for f in shown["port_forwardings"]] == [one["id"]] and "description" not in shown["port_forwardings"][0]
    await neutron.settle()
    [row] = rows(neutron)
    assert row.columns["vips"] == {f"{fip['floating_ip_address']}:2222": f"{address}:22"} and row.columns["protocol"] == ("tcp",)
    changed = await alice.change(path, one["id"], external_port=2200, description="")
    assert changed["external_port"] == 2200 and changed["internal_port"] == 22
    many = await alice.make(
        path, protocol="udp", external_port_range="5000:5002", internal_port_range="6000:6002", internal_port_id=port["id"],
        internal_ip_address=address,
    )  # fmt: skip
    assert many["external_port"] is None and many["internal_port_range"] == "6000:6002"
    await neutron.settle()
    assert sum(len(r.columns["vips"]) for r in rows(neutron)) == 4
    assert [f["id"] for f in await alice.list(path, protocol="udp")] == [many["id"]]
    assert len(await alice.list(path)) == 2
    for id in (one["id"], many["id"]):
        await alice.remove(path, id)
    shown = await alice.show("floatingips", fip["id"])
    assert shown["router_id"] is None and shown["status"] == "DOWN" and shown["port_forwardings"] == []
    await neutron.settle()
    assert rows(neutron) == []


@pytest.mark.parametrize(
    ("fields", "status", "kind"),
    [
        ({"external_port": 2222, "internal_port": 23}, 400, "BadRequest"),
        ({"external_port": 2223}, 400, "BadRequest"),
        ({"external_port_range": "2000:2300", "internal_port": 99}, 400, "BadRequest"),
        ({"external_port_range": "3000:3002", "internal_port_range": "3000:3001", "internal_port": None}, 400, "BadRequest"),
        ({"external_port": 99, "internal_ip_address": "10.0.0.99"}, 400, "BadRequest"),
        ({"external_port": 0}, 400, "HTTPBadRequest"),
        ({"external_port": 70000}, 400, "HTTPBadRequest"),
        ({"external_port_range": "9:8"}, 400, "HTTPBadRequest"),
        ({"external_port": 9, "external_port_range": "9:9"}, 400, "HTTPBadRequest"),
        ({"external_port": 9, "protocol": "icmp"}, 400, "HTTPBadRequest"),
        ({}, 400, "HTTPBadRequest"),
        ({"external_port": 9, "internal_port_id": "00000000-0000-4000-8000-000000000000"}, 404, "PortNotFound"),
    ],
)
async def test_a_forwarding_that_cannot_be_is_refused(alice: Client, fip: Any, port: Any, fields: Any, status: int, kind: str) -> None:
    path = f"floatingips/{fip['id']}/port_forwardings"
    await alice.make(path, protocol="tcp", external_port=2222, internal_port=22, internal_port_id=port["id"])
    wanted = {"protocol": "tcp", "internal_port": 22, "internal_port_id": port["id"], **fields}
    wanted = {key: value for key, value in wanted.items() if value is not None}
    assert (await alice.refused(status, path, **wanted))["type"] == kind


async def test_an_address_is_forwarded_or_given_away_not_both(alice: Client, outside: Outside, fip: Any, port: Any, inside: Inside) -> None:
    path = f"floatingips/{fip['id']}/port_forwardings"
    wanted = {"protocol": "tcp", "external_port": 1, "internal_port": 1, "internal_port_id": port["id"]}
    await alice.change("floatingips", fip["id"], port_id=port["id"])
    assert (await alice.refused(409, path, **wanted))["type"] == "FloatingIPPortAlreadyAssociated"
    other = await alice.make("floatingips", floating_network_id=outside.network["id"])
    assert (await alice.refused(409, f"floatingips/{other['id']}/port_forwardings", **wanted))["type"] == "PortHasBindingFloatingIP"
    await alice.change("floatingips", fip["id"], port_id=None)
    await alice.make(path, **wanted)
    assert (await alice.refused(409, "floatingips", fip["id"], port_id=port["id"]))["type"] == "FipInUseByPortForwarding"
    assert (await alice.remove("floatingips", fip["id"], 409))["type"] == "FipInUseByPortForwarding"
    error = await alice.call("PUT", f"/routers/{inside.router['id']}/remove_router_interface", 409, {"subnet_id": inside.subnet["id"]})
    assert error["NeutronError"]["type"] == "RouterInterfaceInUseByFloatingIP"


async def test_forwardings_go_with_their_port(alice: Client, fip: Any, port: Any, inside: Inside) -> None:
    path = f"floatingips/{fip['id']}/port_forwardings"
    await alice.make(path, protocol="tcp", external_port=1, internal_port=1, internal_port_id=port["id"])
    await alice.change("ports", port["id"], fixed_ips=[{"ip_address": "10.0.0.77"}])
    assert await alice.list(path) == []
    await alice.make(path, protocol="tcp", external_port=1, internal_port=1, internal_port_id=port["id"])
    await alice.remove("ports", port["id"])
    assert await alice.list(path) == [] and (await alice.show("floatingips", fip["id"]))["router_id"] is None


async def test_forwardings_are_their_floating_addresss_owners(alice: Client, bob: Client, neutron: AreaApi, fip: Any, port: Any) -> None:
    path = f"floatingips/{fip['id']}/port_forwardings"
    one = await alice.make(path, protocol="tcp", external_port=1, internal_port=1, internal_port_id=port["id"])
    await bob.call("GET", f"/{path}", 404)
    await bob.call("GET", f"/{path}/{one['id']}", 404)
    await bob.call("DELETE", f"/{path}/{one['id']}", 404)
    reader = Client(neutron.client("red/reader", ""))
    await reader.call("GET", f"/{path}/{one['id']}", 200)
    await reader.call("DELETE", f"/{path}/{one['id']}", 403)
    await reader.refused(403, path, protocol="tcp", external_port=2, internal_port=2, internal_port_id=port["id"])
    await alice.call("GET", f"/floatingips/{port['id']}/port_forwardings", 404)
