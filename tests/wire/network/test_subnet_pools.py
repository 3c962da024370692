"""Address scopes, subnet pools and the subnets cut from them, as Neutron's clients see them."""

from __future__ import annotations

import pytest
from tests.wire.network.conftest import Client, Inside


async def test_a_pool_has_neutrons_defaults(alice: Client) -> None:
    pool = await alice.make("subnetpools", name="p", prefixes=["10.11.0.0/25", "10.11.0.128/25", "10.12.0.0/16"], tags=["t"])
    assert pool["prefixes"] == ["10.11.0.0/24", "10.12.0.0/16"], "compacted"
    assert (pool["min_prefixlen"], pool["default_prefixlen"], pool["max_prefixlen"]) == ("8", "8", "32")
    assert pool["ip_version"] == 4 and pool["shared"] is False and pool["is_default"] is False and pool["default_quota"] is None
    assert pool["address_scope_id"] is None and pool["revision_number"] == 1 and pool["tags"] == ["t"] and pool["project_id"] == "red"
    cut = await alice.make("subnetpools", name="cut", prefixes=["10.99.12.13/24"])
    assert cut["prefixes"] == ["10.99.12.0/24"], "bits beyond the length are cut off"
    await alice.remove("subnetpools", cut["id"])
    six = await alice.make("subnetpools", name="six", prefixes=["fd00::/40"])
    assert (six["ip_version"], six["min_prefixlen"], six["default_prefixlen"], six["max_prefixlen"]) == (6, "64", "64", "128")
    assert [p["id"] for p in await alice.list("subnetpools", ip_version=6)] == [six["id"]]
    changed = await alice.change("subnetpools", pool["id"], default_prefixlen=26, min_prefixlen=24, default_quota=512, name="q")
    assert changed["default_prefixlen"] == "26" and changed["default_quota"] == 512 and changed["name"] == "q"
    for id in (pool["id"], six["id"]):
        await alice.remove("subnetpools", id)
    assert await alice.list("subnetpools") == []


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"prefixes": []}, "EmptySubnetPoolPrefixList"),
        ({"prefixes": ["10.0.0.0/8", "fd00::/8"]}, "PrefixVersionMismatch"),
        ({"prefixes": ["10.0.0.0/8"], "min_prefixlen": 28, "max_prefixlen": 24}, "IllegalSubnetPoolPrefixBounds"),
        ({"prefixes": ["10.0.0.0/8"], "min_prefixlen": 24, "default_prefixlen": 20}, "IllegalSubnetPoolPrefixBounds"),
        ({"prefixes": ["10.0.0.0/8"], "max_prefixlen": 33}, "UnsupportedMinSubnetPoolPrefix"),
        ({"prefixes": ["10.0.0.0"]}, "HTTPBadRequest"),
        ({"prefixes": ["10.0.0.0/8"], "name": " "}, "HTTPBadRequest"),
        ({"prefixes": "10.0.0.0/8"}, "HTTPBadRequest"),
        ({"prefixes": ["10.0.0.0/8"], "default_quota": -1}, "HTTPBadRequest"),
    ],
)
async def test_a_pool_that_cannot_be_is_refused(alice: Client, fields: dict, kind: str) -> None:
    assert (await alice.refused(400, "subnetpools", **{"name": "p", **fields}))["type"] == kind


async def test_prefixes_grow_and_shrink_around_what_is_used(alice: Client) -> None:
    pool = await alice.make("subnetpools", name="p", prefixes=["10.1.0.0/24"], min_prefixlen=26, default_prefixlen=26)
    path = f"/subnetpools/{pool['id']}"
    assert (await alice.refused(400, "subnetpools", pool["id"], prefixes=["10.1.0.0/25"]))["type"] == "IllegalSubnetPoolPrefixUpdate"
    assert (await alice.change("subnetpools", pool["id"], prefixes=["10.1.0.0/23"]))["prefixes"] == ["10.1.0.0/23"]
    added = await alice.call("PUT", path + "/add_prefixes", 200, {"prefixes": ["10.2.0.0/24"]})
    assert added == {"prefixes": ["10.1.0.0/23", "10.2.0.0/24"]}
    net = await alice.make("networks")
    subnet = await alice.make("subnets", network_id=net["id"], ip_version=4, subnetpool_id=pool["id"])
    error = await alice.call("PUT", path + "/remove_prefixes", 400, {"prefixes": [subnet["cidr"]]})
    assert error["NeutronError"]["type"] == "IllegalSubnetPoolPrefixUpdate"
    left = await alice.call("PUT", path + "/remove_prefixes", 200, {"prefixes": ["10.1.1.0/24", "192.168.0.0/24"]})
    assert left == {"prefixes": ["10.1.0.0/24", "10.2.0.0/24"]}
    await alice.call("PUT", path + "/add_prefixes", 400, {"nonsense": []})
    assert (await alice.remove("subnetpools", pool["id"], 400))["type"] == "SubnetPoolDeleteError"


async def test_subnets_are_cut_from_a_pool_without_overlap(alice: Client) -> None:
    pool = await alice.make("subnetpools", name="p", prefixes=["10.1.0.0/24"], min_prefixlen=24, default_prefixlen=26, max_prefixlen=28)
    net = await alice.make("networks")

    async def cut(**fields: object) -> dict:
        return await alice.make("subnets", network_id=net["id"], ip_version=4, subnetpool_id=pool["id"], **fields)

    chosen = await cut(cidr="10.1.0.64/26")
    cidrs = [(await cut())["cidr"], (await cut(prefixlen=28))["cidr"]]
    assert chosen["subnetpool_id"] == pool["id"] and chosen["gateway_ip"] == "10.1.0.65"
    assert cidrs == ["10.1.0.0/26", "10.1.0.128/28"], "the smallest free piece first"
    for fields, status, kind in (
        ({"prefixlen": 29}, 400, "MaxPrefixSubnetAllocationError"),
        ({"prefixlen": 23}, 400, "MinPrefixSubnetAllocationError"),
        ({"prefixlen": 24}, 409, "SubnetAllocationError"),
        ({"cidr": "10.1.0.0/28"}, 409, "SubnetAllocationError"),
        ({"cidr": "10.9.0.0/26"}, 409, "SubnetAllocationError"),
        ({"cidr": "10.1.0.192/26", "prefixlen": 26}, 400, "BadRequest"),
        ({"allocation_pools": [{"start": "10.1.0.200", "end": "10.1.0.201"}]}, 400, "BadRequest"),
        ({"use_default_subnetpool": True}, 400, "BadRequest"),
        ({"ip_version": 6}, 400, "BadRequest"),
    ):
        refused = await alice.refused(status, "subnets", **{"network_id": net["id"], "ip_version": 4, "subnetpool_id": pool["id"], **fields})
        assert refused["type"] == kind, (fields, refused)
    assert (await alice.refused(400, "subnets", network_id=net["id"], ip_version=4))["type"] == "BadRequest"
    free = await alice.refused(400, "subnets", network_id=net["id"], ip_version=4, cidr="192.168.0.0/24")
    assert free["type"] == "NetworkSubnetPoolAffinityError"
    assert [s["id"] for s in await alice.list("subnets", subnetpool_id=pool["id"], cidr="10.1.0.64/26")] == [chosen["id"]]


async def test_a_projects_share_of_a_pool_is_bounded(alice: Client, bob: Client, admin: Client) -> None:
    pool = await admin.make("subnetpools", name="p", prefixes=["10.0.0.0/16"], default_prefixlen=26, default_quota=100, shared=True)
    mine, his = await alice.make("networks"), await bob.make("networks")
    await alice.make("subnets", network_id=mine["id"], ip_version=4, subnetpool_id=pool["id"])
    error = await alice.refused(409, "subnets", network_id=mine["id"], ip_version=4, subnetpool_id=pool["id"])
    assert error["type"] == "SubnetPoolQuotaExceeded"
    await bob.make("subnets", network_id=his["id"], ip_version=4, subnetpool_id=pool["id"])


async def test_there_is_one_default_pool_of_each_version(alice: Client, admin: Client) -> None:
    net = await alice.make("networks")
    error = await alice.refused(400, "subnets", network_id=net["id"], ip_version=4, use_default_subnetpool=True)
    assert "No default subnetpool found for IPv4" in error["message"]
    await alice.refused(403, "subnetpools", name="p", prefixes=["10.0.0.0/8"], is_default=True)
    four = await admin.make("subnetpools", name="4", prefixes=["10.0.0.0/8"], default_prefixlen=24, is_default=True, shared=True)
    await admin.make("subnetpools", name="6", prefixes=["fd00::/48"], is_default=True, shared=True)
    other = await admin.make("subnetpools", name="x", prefixes=["10.0.0.0/8"])
    assert (await admin.refused(400, "subnetpools", other["id"], is_default=True))["type"] == "InvalidInput"
    assert (await admin.refused(400, "subnetpools", name="y", prefixes=["10.0.0.0/8"], is_default=True))["type"] == "InvalidInput"
    subnet = await alice.make("subnets", network_id=net["id"], ip_version=4, use_default_subnetpool=True)
    assert subnet["cidr"] == "10.0.0.0/24" and subnet["subnetpool_id"] == four["id"]
    six = await alice.make("subnets", network_id=net["id"], ip_version=6, use_default_subnetpool=True)
    assert six["cidr"] == "fd00::/64"
    await admin.change("subnetpools", four["id"], is_default=False)
    assert (await admin.change("subnetpools", other["id"], is_default=True))["is_default"] is True
    assert [p["id"] for p in await admin.list("subnetpools", is_default=True, ip_version=4)] == [other["id"]]


async def test_a_scope_keeps_its_pools_apart(alice: Client) -> None:
    scope = await alice.make("address-scopes", name="s", ip_version=4)
    assert scope == {"id": scope["id"], "name": "s", "ip_version": 4, "shared": False, "project_id": "red", "tenant_id": "red"}
    one = await alice.make("subnetpools", name="1", prefixes=["10.0.0.0/16"], default_prefixlen=24, address_scope_id=scope["id"])
    error = await alice.refused(409, "subnetpools", name="2", prefixes=["10.0.128.0/20"], address_scope_id=scope["id"])
    assert error["type"] == "AddressScopePrefixConflict"
    two = await alice.make("subnetpools", name="2", prefixes=["10.1.0.0/16"], default_prefixlen=24, address_scope_id=scope["id"])
    assert (await alice.refused(409, "subnetpools", two["id"], prefixes=["10.0.0.0/15"]))["type"] == "AddressScopePrefixConflict"
    six = await alice.refused(400, "subnetpools", name="6", prefixes=["fd00::/48"], address_scope_id=scope["id"])
    assert six["type"] == "IllegalSubnetPoolIpVersionAssociationToAddressScope"
    assert (await alice.remove("address-scopes", scope["id"], 409))["type"] == "AddressScopeInUse"
    net = await alice.make("networks")
    for pool in (one, two):
        await alice.make("subnets", network_id=net["id"], ip_version=4, subnetpool_id=pool["id"])
    shown = await alice.show("networks", net["id"])
    assert shown["ipv4_address_scope"] == scope["id"] and shown["ipv6_address_scope"] is None
    away = await alice.refused(400, "subnetpools", one["id"], address_scope_id=None)
    assert away["type"] == "NetworkAddressScopeAffinityError"
    assert (await alice.change("address-scopes", scope["id"], name="t"))["name"] == "t"


async def test_scopes_and_pools_are_their_projects_unless_shared(alice: Client, bob: Client, admin: Client) -> None:
    scope, pool = await alice.make("address-scopes", ip_version=4), await alice.make("subnetpools", name="p", prefixes=["10.0.0.0/8"])
    for path, id in (("address-scopes", scope["id"]), ("subnetpools", pool["id"])):
        await bob.call("GET", f"/{path}/{id}", 404)
        await bob.call("DELETE", f"/{path}/{id}", 404)
        assert await bob.list(path) == []
        await alice.refused(403, path, **({"name": "x", "ip_version": 4} if path != "subnetpools" else {"name": "x", "prefixes": ["1.0.0.0/8"]}), shared=True)
    net = await bob.make("networks")
    assert (await bob.refused(404, "subnets", network_id=net["id"], ip_version=4, subnetpool_id=pool["id"]))["type"] == "SubnetPoolNotFound"
    refused = await bob.refused(404, "subnetpools", name="b", prefixes=["10.0.0.0/8"], address_scope_id=scope["id"])
    assert refused["type"] == "AddressScopeNotFound"
    await alice.refused(403, "address-scopes", scope["id"], shared=True)
    assert (await admin.change("address-scopes", scope["id"], shared=True))["shared"] is True
    assert [s["shared"] for s in await bob.list("address-scopes", shared=True)] == [True]
    await bob.call("DELETE", f"/address-scopes/{scope['id']}", 403)
    assert (await admin.refused(400, "address-scopes", scope["id"], shared=False))["type"] == "AddressScopeUpdateError"
    theirs = await bob.make("subnetpools", name="b", prefixes=["11.0.0.0/8"], address_scope_id=scope["id"])
    assert (await bob.refused(400, "subnetpools", theirs["id"], name="c"))["type"] == "IllegalSubnetPoolUpdate"


async def test_a_networks_subnets_are_onboarded(alice: Client, bob: Client, inside: Inside) -> None:
    pool = await alice.make("subnetpools", name="p", prefixes=["192.168.0.0/16"])
    path = f"/subnetpools/{pool['id']}/onboard_network_subnets"
    assert await alice.call("PUT", path, 200, {"network_id": inside.network["id"]}) == [{"id": inside.subnet["id"], "cidr": "10.0.0.0/24"}]
    assert (await alice.show("subnets", inside.subnet["id"]))["subnetpool_id"] == pool["id"]
    assert (await alice.show("subnetpools", pool["id"]))["prefixes"] == ["10.0.0.0/24", "192.168.0.0/16"]
    again = await alice.call("PUT", path, 400, {"network_id": inside.network["id"]})
    assert again["NeutronError"]["type"] == "IllegalSubnetPoolUpdate"
    theirs = await bob.make("subnetpools", name="b", prefixes=["10.0.0.0/8"])
    await bob.call("PUT", f"/subnetpools/{theirs['id']}/onboard_network_subnets", 404, {"network_id": inside.network["id"]})
