"""Trunks and their subports, as Neutron's clients see them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.wire.areas import AreaApi
from tests.wire.network.conftest import Client, Inside


@pytest.fixture
async def parent(alice: Client, inside: Inside) -> Any:
    return await alice.make("ports", network_id=inside.network["id"], name="parent")


@pytest.fixture
async def child(alice: Client) -> Any:
    net = await alice.make("networks", name="second")
    return await alice.make("ports", network_id=net["id"], name="child")


def vlan(port: Any, tag: int = 101) -> dict[str, Any]:
    return {"port_id": port["id"], "segmentation_type": "vlan", "segmentation_id": tag}


async def test_a_trunk_and_its_subports(alice: Client, admin: Client, neutron: AreaApi, parent: Any, child: Any) -> None:
    trunk = await alice.make("trunks", port_id=parent["id"], name="t", description="d", sub_ports=[vlan(child)], tags=["x"])
    assert trunk["status"] == "ACTIVE" and trunk["sub_ports"] == [vlan(child)] and trunk["admin_state_up"] is True
    assert trunk["name"] == "t" and trunk["tags"] == ["x"] and trunk["project_id"] == "red" and trunk["revision_number"] == 1
    port = await admin.show("ports", child["id"])
    assert port["device_owner"] == "trunk:subport" and port["binding:profile"] == {"parent_name": parent["id"], "tag": 101}
    details = (await alice.show("ports", parent["id"]))["trunk_details"]
    assert details == {"trunk_id": trunk["id"], "sub_ports": [vlan(child) | {"mac_address": child["mac_address"]}]}
    assert "trunk_details" not in await alice.show("ports", child["id"])
    await admin.change("ports", parent["id"], binding__host_id="node-1")
    await neutron.settle()
    assert (await alice.show("ports", child["id"]))["status"] == "ACTIVE", "with its parent"
    row = neutron.cloud.areas["network"].driver.engine.rows[f"port:{child['id']}"]
    assert row.columns["parent_name"] == (parent["id"],) and row.columns["tag_request"] == (101,)
    second = await alice.make("ports", network_id=child["network_id"])
    path = f"/trunks/{trunk['id']}"
    more = await alice.call("PUT", path + "/add_subports", 200, {"sub_ports": [vlan(second, 102)]})
    assert more["id"] == trunk["id"] and len(more["sub_ports"]) == 2
    assert (await alice.call("GET", path + "/get_subports", 200)) == {"sub_ports": [vlan(child), vlan(second, 102)]}
    fewer = await alice.call("PUT", path + "/remove_subports", 200, {"sub_ports": [{"port_id": child["id"]}]})
    assert fewer["sub_ports"] == [vlan(second, 102)]
    await neutron.settle()
    port = await admin.show("ports", child["id"])
    assert port["device_owner"] == "" and port["binding:profile"] == {} and port["status"] == "DOWN"
    assert (await alice.change("trunks", trunk["id"], name="u"))["name"] == "u"
    for id in (parent["id"], second["id"]):
        kind = (await alice.remove("ports", id, 409))["type"]
        assert kind in ("PortInUseAsTrunkParent", "PortInUseAsSubPort")
    await alice.remove("trunks", trunk["id"])
    assert await alice.list("trunks") == [] and (await alice.show("ports", second["id"]))["device_owner"] == ""


@pytest.mark.parametrize(
    ("fields", "status", "kind"),
    [
        ({"segmentation_id": 0}, 400, "InvalidInput"),
        ({"segmentation_id": 4095}, 400, "InvalidInput"),
        ({"segmentation_id": None}, 400, "InvalidInput"),
        ({"segmentation_type": None}, 400, "InvalidInput"),
        ({"segmentation_type": "inherit"}, 400, "InvalidInput"),
        ({"segmentation_type": "vxlan"}, 400, "HTTPBadRequest"),
        ({"segmentation_id": "x"}, 400, "HTTPBadRequest"),
        ({"port_id": "00000000-0000-4000-8000-000000000000"}, 404, "PortNotFound"),
        ({"port_id": "PARENT"}, 409, "ParentPortInUse"),
    ],
)
async def test_a_subport_that_cannot_be_is_refused(alice: Client, parent: Any, child: Any, fields: Any, status: int, kind: str) -> None:
    asked = {key: value for key, value in {**vlan(child), **fields}.items() if value is not None}
    asked["port_id"] = parent["id"] if asked["port_id"] == "PARENT" else asked["port_id"]
    assert (await alice.refused(status, "trunks", port_id=parent["id"], sub_ports=[asked]))["type"] == kind
    assert await alice.list("trunks") == []


async def test_a_port_is_in_one_trunk(alice: Client, admin: Client, inside: Inside, parent: Any, child: Any) -> None:
    trunk = await alice.make("trunks", port_id=parent["id"], sub_ports=[vlan(child)])
    assert (await alice.refused(409, "trunks", port_id=parent["id"]))["type"] == "ParentPortInUse"
    assert (await alice.refused(409, "trunks", port_id=child["id"]))["type"] == "TrunkPortInUse"
    other = await alice.make("ports", network_id=inside.network["id"])
    assert (await alice.refused(409, "trunks", port_id=other["id"], sub_ports=[vlan(child)]))["type"] == "TrunkPortInUse"
    path = f"/trunks/{trunk['id']}"
    error = await alice.call("PUT", path + "/add_subports", 409, {"sub_ports": [vlan(other)]})
    assert error["NeutronError"]["type"] == "DuplicateSubPort"
    error = await alice.call("PUT", path + "/remove_subports", 404, {"sub_ports": [{"port_id": other["id"]}]})
    assert error["NeutronError"]["type"] == "SubPortNotFound"
    await alice.change("ports", other["id"], device_id="server")
    error = await alice.call("PUT", path + "/add_subports", 409, {"sub_ports": [vlan(other, 7)]})
    assert error["NeutronError"]["type"] == "PortInUse"
    await alice.change("trunks", trunk["id"], admin_state_up=False)
    assert (await alice.remove("trunks", trunk["id"], 409))["type"] == "TrunkDisabled"
    for bad in ({}, {"sub_ports": [{}]}, {"sub_ports": "x"}, {"nonsense": []}):
        await alice.call("PUT", path + "/add_subports", 400, bad)
    wide = await admin.make("networks", provider__network_type="vlan", provider__physical_network="public", provider__segmentation_id=55)
    big = await admin.make("ports", network_id=wide["id"])
    error = await admin.refused(409, "trunks", port_id=other["id"], sub_ports=[{"port_id": big["id"], "segmentation_type": "inherit"}])
    assert error["type"] == "SubPortMtuGreaterThanTrunkPortMtu"


async def test_a_trunk_is_its_projects(alice: Client, bob: Client, parent: Any) -> None:
    trunk = await alice.make("trunks", port_id=parent["id"])
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/get_subports")):
        await bob.call(method, f"/trunks/{trunk['id']}{path}", 404)
    await bob.call("PUT", f"/trunks/{trunk['id']}/add_subports", 404, {"sub_ports": []})
    await bob.refused(404, "trunks", port_id=parent["id"])
    assert await bob.list("trunks") == []


async def test_a_trunk_goes_with_its_server_port(alice: Client, neutron: AreaApi, parent: Any, child: Any) -> None:
    """Compute removes ports that it made itself, whatever became of them."""
    from moln.network.ops import ports

    await alice.make("trunks", port_id=parent["id"], sub_ports=[vlan(child)])
    await neutron.cloud.db.write(ports.delete_in, neutron.cloud.system_context(), parent["id"])
    assert await alice.list("trunks") == [] and (await alice.show("ports", child["id"]))["device_owner"] == ""
