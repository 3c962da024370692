"""Segments of networks, addresses that depend on the node, and ranges of VLAN tags and tunnel numbers."""

from __future__ import annotations

from typing import Any

import pytest
from tests.wire.areas import AreaApi
from tests.wire.network.conftest import Client

from moln.network.model.topology import Chassis
from moln.network.store import segments as store


@pytest.fixture
async def racks(neutron: AreaApi, admin: Client) -> tuple[Any, Any, Any]:
    """A network with a segment in each of two racks, and a node in each: node-1 and node-2."""
    driver = neutron.cloud.areas["network"].driver
    driver.add_chassis(Chassis(name="node-2", hostname="node-2", physical_networks=("rack2",)))
    await neutron.settle()
    net = await admin.make("networks", shared=True, provider__network_type="vlan", provider__physical_network="public", provider__segmentation_id=10)
    [first] = await admin.list("segments", network_id=net["id"])
    second = await admin.make("segments", network_id=net["id"], network_type="vlan", physical_network="rack2", segmentation_id=20, name="rack 2")
    for segment, third in ((first, 1), (second, 2)):
        await admin.make("subnets", network_id=net["id"], ip_version=4, cidr=f"10.50.{third}.0/24", segment_id=segment["id"])
    return net, first, second


async def localnets(neutron: AreaApi) -> list[tuple[str, Any]]:
    await neutron.settle()
    rows = neutron.cloud.areas["network"].driver.engine.rows.values()
    found = [r.columns for r in rows if r.columns.get("type") == "localnet"]
    return sorted((c["options"]["network_name"], c["tag_request"]) for c in found)


async def test_each_network_has_a_segment_and_may_get_more(neutron: AreaApi, admin: Client, alice: Client, racks: Any) -> None:
    net, first, second = racks
    assert (first["network_type"], first["physical_network"], first["segmentation_id"]) == ("vlan", "public", 10)
    assert second["name"] == "rack 2" and second["network_id"] == net["id"] and second["revision_number"] == 1
    assert await localnets(neutron) == [("public", (10,)), ("rack2", (20,))]
    shown = await admin.show("networks", net["id"])
    assert "provider:network_type" not in shown and [s["provider:segmentation_id"] for s in shown["segments"]] == [10, 20]
    assert "segments" not in await alice.show("networks", net["id"]), "what carries a network is the cloud's"
    assert await alice.list("segments") == []
    await alice.refused(403, "segments", network_id=net["id"], network_type="flat", physical_network="rack2")
    changed = await admin.change("segments", second["id"], name="two", description="d")
    assert (changed["name"], changed["description"]) == ("two", "d")
    assert [s["id"] for s in await admin.list("segments", physical_network="rack2")] == [second["id"]]
    assert (await admin.remove("segments", second["id"], 409))["type"] == "SegmentInUse"


async def test_a_segment_goes_when_nothing_needs_it(neutron: AreaApi, admin: Client) -> None:
    net = await admin.make("networks", provider__network_type="vlan", provider__physical_network="public")
    [first] = await admin.list("segments", network_id=net["id"])
    assert (await admin.remove("segments", first["id"], 409))["type"] == "SegmentInUse"
    second = await admin.make("segments", network_id=net["id"], network_type="flat", physical_network="rack2")
    await neutron.settle()
    port = await admin.make("ports", network_id=net["id"], binding__host_id="node-1")
    assert "bound with port" in (await admin.remove("segments", first["id"], 409))["message"]
    await admin.remove("ports", port["id"])
    await admin.remove("segments", first["id"])
    shown = await admin.show("networks", net["id"])
    assert (shown["provider:network_type"], shown["provider:physical_network"]) == ("flat", "rack2")
    assert await localnets(neutron) == [("rack2", ())]
    await admin.remove("networks", net["id"])
    await admin.call("GET", f"/segments/{second['id']}", 404)


async def test_a_ports_addresses_come_with_its_node(admin: Client, alice: Client, racks: Any) -> None:
    net, _, _ = racks
    port = await alice.make("ports", network_id=net["id"], device_owner="compute:nova")
    assert port["fixed_ips"] == [] and port["ip_allocation"] == "deferred" and port["security_groups"]
    bound = await admin.change("ports", port["id"], binding__host_id="node-2")
    assert bound["fixed_ips"][0]["ip_address"].startswith("10.50.2.")
    refused = await admin.refused(409, "ports", port["id"], binding__host_id="node-1")
    assert refused["type"] == "HostNotCompatibleWithFixedIps"
    there = await admin.make("ports", network_id=net["id"], binding__host_id="node-1")
    assert there["fixed_ips"][0]["ip_address"].startswith("10.50.1.") and there["ip_allocation"] == "immediate"
    lost = await admin.refused(409, "ports", network_id=net["id"], binding__host_id="node-9")
    assert lost["type"] == "HostNotConnectedToAnySegment"
    fixed = [{"ip_address": "10.50.2.77"}]
    assert (await admin.refused(409, "ports", network_id=net["id"], binding__host_id="node-1", fixed_ips=fixed))["type"] == "HostNotCompatibleWithFixedIps"
    chosen = await admin.make("ports", network_id=net["id"], fixed_ips=fixed)
    assert chosen["ip_allocation"] == "immediate"
    assert (await admin.make("ports", network_id=net["id"], fixed_ips=[]))["ip_allocation"] == "none"
    assert {p["id"] for p in await admin.list("ports", ip_allocation="deferred")} == {port["id"]}


async def test_subnets_of_a_network_are_all_of_segments_or_none(admin: Client, racks: Any) -> None:
    net, first, _ = racks
    more = {"network_id": net["id"], "ip_version": 4, "cidr": "10.60.0.0/24"}
    assert (await admin.refused(400, "subnets", **more))["type"] == "SubnetsNotAllAssociatedWithSegments"
    other = await admin.make("networks")
    [strange] = await admin.list("segments", network_id=other["id"])
    assert (await admin.refused(400, "subnets", **more, segment_id=strange["id"]))["type"] == "NetworkIdsDontMatch"
    none = "00000000-0000-4000-8000-000000000000"
    assert (await admin.refused(404, "subnets", **more, segment_id=none))["type"] == "SegmentNotFound"
    made = await admin.make("subnets", **more, segment_id=first["id"])
    assert made["segment_id"] == first["id"] and len(await admin.list("subnets", segment_id=first["id"])) == 2


async def test_a_network_is_made_of_several_segments_at_once(neutron: AreaApi, admin: Client, alice: Client) -> None:
    def piece(kind: str | None, physical: str | None = None, number: int | None = None) -> Any:
        return {"provider:network_type": kind, "provider:physical_network": physical, "provider:segmentation_id": number}

    two = [piece("vlan", "public", 11), piece("vlan", "rack2")]
    net = await admin.make("networks", segments=two)
    assert net["segments"][0] == two[0] and net["segments"][1]["provider:segmentation_id"] is not None
    assert len(await localnets(neutron)) == 2
    await alice.refused(403, "networks", segments=two)
    for kind, bad in (
        ("SegmentsSetInConjunctionWithProviders", {"segments": two, "provider:network_type": "vlan"}),
        ("SegmentsContainDuplicateEntry", {"segments": [two[0], two[0]]}),
        ("InvalidInput", {"segments": [piece("geneve"), piece("vlan", "rack2")]}),
        ("InvalidInput", {"segments": [piece("vlan", "nowhere")]}),
        ("HTTPBadRequest", {"segments": [{"odd": 1}]}),
    ):
        assert (await admin.refused(400, "networks", **bad))["type"] == kind
    assert (await admin.refused(409, "networks", segments=[two[0]]))["type"] == "VlanIdInUse"
    taken = await admin.refused(409, "segments", network_id=net["id"], network_type="vlan", physical_network="public", segmentation_id=11)
    assert taken["type"] == "VlanIdInUse"
    overlay = await admin.make("networks")
    await admin.refused(400, "segments", network_id=overlay["id"], network_type="vlan", physical_network="public")


async def test_numbers_come_from_a_projects_own_range_first(admin: Client, alice: Client) -> None:
    defaults = await admin.list("network_segment_ranges", default="true")
    assert {(r["network_type"], r["physical_network"], r["minimum"], r["maximum"]) for r in defaults} == {
        ("geneve", None, 1, 65535), ("vlan", "public", 1, 4094), ("vlan", "rack2", 1, 4094),
    }  # fmt: skip
    own = await admin.make("network_segment_ranges", name="red's", shared=False, project_id="red", network_type="geneve", minimum=100, maximum=101, tags=["t"])
    assert own["project_id"] == "red" and own["used"] == {} and own["available"] == [100, 101] and own["tags"] == ["t"]
    nets = [await alice.make("networks") for _ in range(3)]
    numbers = [(await admin.show("networks", n["id"]))["provider:segmentation_id"] for n in nets]
    assert set(numbers[:2]) == {100, 101} and numbers[2] not in (100, 101), "then from what is shared"
    shown = await admin.show("network_segment_ranges", own["id"])
    assert shown["used"] == {"100": "red", "101": "red"} and shown["available"] == []
    assert (await admin.remove("network_segment_ranges", own["id"], 409))["type"] == "NetworkSegmentRangeReferencedByProject"
    assert (await admin.refused(409, "network_segment_ranges", own["id"], minimum=101))["type"] == "NetworkSegmentRangeReferencedByProject"
    assert (await admin.list("network-segment-ranges", name="red's"))[0]["id"] == own["id"], "by its other name too"
    wider = await admin.change("network_segment_ranges", own["id"], maximum=103, name="wide")
    assert wider["maximum"] == 103 and wider["available"] == [102, 103]
    for net in nets:
        await alice.remove("networks", net["id"])
    await admin.remove("network_segment_ranges", own["id"])


async def test_what_is_kept_for_one_project_is_no_others(admin: Client, bob: Client, alice: Client) -> None:
    made = await admin.make("network_segment_ranges", shared=False, project_id="red", network_type="vlan", physical_network="public", minimum=2, maximum=4094)
    net = await admin.make("networks", project_id="blue", provider__network_type="vlan", provider__physical_network="public")
    assert net["provider:segmentation_id"] == 1, "the only tag left of the default range"
    full = await admin.refused(409, "networks", project_id="blue", provider__network_type="vlan", provider__physical_network="public")
    assert full["type"] == "NoNetworkAvailable"
    overlap = {"network_type": "vlan", "physical_network": "public", "minimum": 5, "maximum": 6}
    assert (await admin.refused(409, "network_segment_ranges", **overlap))["type"] == "NetworkSegmentRangeOverlaps"
    other = await admin.make("network_segment_ranges", **(overlap | {"physical_network": "rack2"}))
    assert other["shared"] is True and other["project_id"] is None
    for bad in (
        {"network_type": "vlan", "minimum": 1, "maximum": 2}, {"network_type": "vlan", "physical_network": "x", "minimum": 1, "maximum": 2},
        {"network_type": "vlan", "physical_network": "rack2", "minimum": 9, "maximum": 4095}, {"network_type": "geneve", "minimum": 5, "maximum": 4},
        {"network_type": "geneve", "minimum": 1, "maximum": 1 << 20}, {"network_type": "flat", "minimum": 1, "maximum": 2}, {"network_type": "geneve"},
    ):  # fmt: skip
        await admin.refused(400, "network_segment_ranges", **bad)
    default = (await admin.list("network_segment_ranges", default="true"))[0]
    assert (await admin.remove("network_segment_ranges", default["id"], 400))["type"] == "NetworkSegmentRangeDefaultReadOnly"
    await admin.refused(400, "network_segment_ranges", default["id"], maximum=9)
    assert await alice.list("network_segment_ranges") == []
    await alice.call("GET", f"/network_segment_ranges/{made['id']}", 404)
    await alice.refused(403, "network_segment_ranges", network_type="geneve", minimum=1, maximum=2)


async def test_a_network_without_its_segment_is_found(neutron: AreaApi, admin: Client) -> None:
    net = await admin.make("networks")
    [segment] = await admin.list("segments", network_id=net["id"])

    async def lose(tx: Any) -> None:
        await store.segments.remove(tx, segment["id"])

    await neutron.cloud.db.write(lose)
    assert any(net["id"] in v.message for v in await neutron.doctor())
    await admin.remove("networks", net["id"])
