"""Bindings of a port to nodes, as compute uses them to move a guest."""

from __future__ import annotations

from typing import Any

import pytest
from tests.wire.areas import AreaApi
from tests.wire.network.conftest import Client


@pytest.fixture
def nova(neutron: AreaApi) -> Client:
    """Bindings are services' (policy's default since 2024.2)."""
    return Client(neutron.client("service/service", ""))


@pytest.fixture
async def port(alice: Client, admin: Client) -> Any:
    net = await alice.make("networks")
    made = await alice.make("ports", network_id=net["id"], device_owner="compute:nova", device_id="server")
    return await admin.change("ports", made["id"], binding__host_id="node-1")


async def options(neutron: AreaApi, port: Any) -> Any:
    await neutron.settle()
    return neutron.cloud.areas["network"].driver.engine.rows[f"port:{port['id']}"].columns["options"]


async def test_a_port_moves_with_a_binding_that_waited(neutron: AreaApi, nova: Client, admin: Client, port: Any) -> None:
    path = f"/ports/{port['id']}/bindings"
    made = (await nova.call("POST", f"{path}/", 201, {"binding": {"host": "node-2", "profile": {"migrating_to": "x"}}}))["binding"]
    assert (made["host"], made["status"], made["vif_type"], made["vnic_type"]) == ("node-2", "INACTIVE", "ovs", "normal")
    assert made["vif_details"]["bridge_name"] == "br-int" and made["profile"] == {"migrating_to": "x"}
    listed = (await admin.call("GET", path, 200))["bindings"]
    assert [(b["host"], b["status"]) for b in listed] == [("node-1", "ACTIVE"), ("node-2", "INACTIVE")]
    assert [b["host"] for b in (await nova.call("GET", f"{path}?status=INACTIVE&fields=host", 200))["bindings"]] == ["node-2"]
    assert await options(neutron, port) == {"requested-chassis": "node-1,node-2", "activation-strategy": "rarp"}
    assert (await admin.show("ports", port["id"]))["binding:host_id"] == "node-1"

    active = (await nova.call("PUT", f"{path}/node-2/activate", 200))["binding"]
    assert (active["host"], active["status"]) == ("node-2", "ACTIVE")
    shown = await admin.show("ports", port["id"])
    assert shown["binding:host_id"] == "node-2" and shown["binding:profile"] == {"migrating_to": "x"}
    assert (await nova.call("PUT", f"{path}/node-2/activate", 409))["NeutronError"]["type"] == "PortBindingAlreadyActive"
    assert (await options(neutron, port))["requested-chassis"] == "node-2,node-1"
    await nova.call("DELETE", f"{path}/node-1", 204)
    assert await options(neutron, port) == {"requested-chassis": "node-2"}
    assert (await nova.call("DELETE", f"{path}/node-1", 404))["NeutronError"]["type"] == "PortBindingNotFound"


async def test_bindings_are_changed_and_end_with_the_port_or_its_node(nova: Client, admin: Client, alice: Client, port: Any) -> None:
    path = f"/ports/{port['id']}/bindings"
    await nova.call("POST", path, 201, {"binding": {"host": "node-2"}})
    for host in ("node-1", "node-2"):
        assert (await nova.call("POST", path, 409, {"binding": {"host": host}}))["NeutronError"]["type"] == "PortBindingAlreadyExists"
        changed = (await nova.call("PUT", f"{path}/{host}", 200, {"binding": {"profile": {"at": host}}}))["binding"]
        assert changed["profile"] == {"at": host} == (await nova.call("GET", f"{path}/{host}", 200))["binding"]["profile"]
    await admin.change("ports", port["id"], binding__host_id="node-2")
    assert [b["host"] for b in (await nova.call("GET", path, 200))["bindings"]] == ["node-2"], "who has it waits for it no longer"
    await nova.call("POST", path, 201, {"binding": {"host": "node-3"}})
    await nova.call("DELETE", f"{path}/node-2", 204)
    assert (await nova.call("GET", path, 200))["bindings"] == [], "nobody waits for a port that is nowhere"
    assert (await admin.show("ports", port["id"]))["binding:vif_type"] == "unbound"
    assert (await nova.call("POST", path, 201, {"binding": {"host": "node-1"}}))["binding"]["status"] == "ACTIVE"
    await nova.call("POST", path, 201, {"binding": {"host": "node-2"}})
    await admin.remove("ports", port["id"])
    await nova.call("GET", path, 404)


async def test_bindings_are_services_alone_and_of_guests_alone(alice: Client, bob: Client, admin: Client, nova: Client, port: Any) -> None:
    path = f"/ports/{port['id']}/bindings"
    await alice.call("GET", path, 404)
    await bob.call("GET", path, 404)
    await admin.call("POST", path, 403, {"binding": {"host": "node-2"}})
    await alice.call("POST", path, 403, {"binding": {"host": "node-2"}})
    await admin.call("PUT", f"{path}/node-1/activate", 403)
    for body in ({}, {"binding": {}}, {"binding": {"host": 5}}, {"binding": {"host": "n", "status": "ACTIVE"}}, {"binding": {"host": "n", "vnic_type": "odd"}},
                 {"binding": {"host": "n", "profile": []}}):  # fmt: skip
        await nova.call("POST", path, 400, body)
    await nova.call("PUT", f"{path}/node-1", 400, {"binding": {"host": "node-2"}})
    plain = await alice.make("ports", network_id=port["network_id"])
    error = (await nova.call("POST", f"/ports/{plain['id']}/bindings", 400, {"binding": {"host": "node-1"}}))["NeutronError"]
    assert "compute ports" in error["message"]
