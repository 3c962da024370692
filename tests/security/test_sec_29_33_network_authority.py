"""SEC-29 and SEC-33 (CVE-2015-5240, CVE-2014-0056, CVE-2024-53916): who may do what to networks, from the resources' own schemas.

Every attribute of every resource is tried by its owner, by another project and by a reader, against the compiled policy and the answers.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import pytest
from tests.wire.areas import AreaApi
from tests.wire.network.conftest import Client, Inside, Outside, inside, neutron, outside  # noqa: F401 (fixtures)
from tests.wire.network.conftest import admin as admin
from tests.wire.network.conftest import alice as alice
from tests.wire.network.conftest import bob as bob

import moln.network.api
from moln.network.api.resources import Resource

ELSEWHERE = {                                      # only operators may change these; test_sec_33_every_route.py tries all routes of theirs
    "flavors", "service_profiles", "default-security-group-rules", "security-groups-default-statefulness", "qos/policies",
    "segments", "network_segment_ranges", "log/logs",
    "port_forwardings",                            # a floating address's, and so its
}  # fmt: skip
MODULES = [importlib.import_module(f"moln.network.api.{module.name}") for module in pkgutil.iter_modules(moln.network.api.__path__)]
ALL = {thing.path: thing for module in MODULES for thing in vars(module).values() if isinstance(thing, Resource)}
RESOURCES = {path: resource for path, resource in sorted(ALL.items()) if path not in ELSEWHERE}
UUID = "00000000-0000-4000-8000-000000000000"
VALUES: dict[str, Any] = {                         # a good value for each attribute that takes no string
    "admin_state_up": False, "shared": True, "router:external": True, "is_default": True, "mtu": 1400, "port_security_enabled": False,
    "provider:network_type": "vlan", "provider:physical_network": "public", "provider:segmentation_id": 77, "dns_domain": "x.",
    "availability_zone_hints": ["nova"], "gateway_ip": None, "allocation_pools": [], "dns_nameservers": ["9.9.9.9"],
    "host_routes": [{"destination": "10.77.0.0/24", "nexthop": "10.0.0.9"}], "enable_dhcp": False, "service_types": ["compute:nova"],
    "mac_address": "fa:16:3e:12:34:56", "fixed_ips": [{"ip_address": "10.0.0.199"}], "security_groups": [],
    "allowed_address_pairs": [{"ip_address": "10.0.0.200"}], "extra_dhcp_opts": [], "binding:host_id": "node-1", "binding:vnic_type": "normal",
    "binding:profile": {"a": 1}, "device_owner": "network:dhcp", "external_gateway_info": None, "routes": [], "port_id": None,
    "fixed_ip_address": None, "stateful": False, "tags": ["t"], "name": "n", "description": "d", "device_id": "x", "dns_name": "x",
    "qos_policy_id": None, "prefixes": ["10.0.0.0/8"], "min_prefixlen": 9, "default_prefixlen": 20, "max_prefixlen": 30, "default_quota": 5,
    "address_scope_id": None, "target_tenant": "*", "dns_publish_fixed_ip": True,
    "enable_default_route_ecmp": True, "enable_default_route_bfd": True, "router_id": None, "ha": True,
}  # fmt: skip
WRITABLE = [(path, name) for path, r in RESOURCES.items() for name, attribute in r.schema.attributes.items() if attribute.put and r.update_in]


@pytest.fixture
async def things(alice: Client, inside: Inside, outside: Outside) -> dict[str, str]:  # noqa: F811
    """One of each resource, alice's."""
    port = await alice.make("ports", network_id=inside.network["id"])
    fip = await alice.make("floatingips", floating_network_id=outside.network["id"])
    group = await alice.make("security-groups", name="g")
    scope = await alice.make("address-scopes", ip_version=4)
    pool = await alice.make("subnetpools", name="p", prefixes=["10.0.0.0/9"])
    addresses = await alice.make("address-groups", name="a")
    trunk = await alice.make("trunks", port_id=(await alice.make("ports", network_id=inside.network["id"]))["id"])
    rule = await alice.make("security-group-rules", security_group_id=group["id"], direction="ingress")
    policy = await alice.make(
        "rbac-policies", object_type="security_group", object_id=group["id"], action="access_as_shared", target_tenant="green"
    )
    return {
        "subnetpools": pool["id"], "address-scopes": scope["id"], "address-groups": addresses["id"], "trunks": trunk["id"],
        "rbac-policies": policy["id"], "networks": inside.network["id"], "subnets": inside.subnet["id"], "ports": port["id"], "routers": inside.router["id"],
        "floatingips": fip["id"], "security-groups": group["id"], "security-group-rules": rule["id"],
    }  # fmt: skip


def test_every_attribute_has_a_value_to_try() -> None:
    assert [name for _, name in WRITABLE if name not in VALUES] == [], "a good value for it belongs into VALUES"


async def test_every_resource_is_tried(things: dict[str, str]) -> None:
    assert things.keys() == RESOURCES.keys(), "make one of alice's in `things`, or say in ELSEWHERE why not"


async def test_another_project_finds_nothing_to_change(bob: Client, things: dict[str, str]) -> None:
    for path, name in WRITABLE:
        body = {RESOURCES[path].schema.single: {name: VALUES[name]}}
        await bob.call("PUT", f"/{path}/{things[path]}", 404, body)
    for path, id in things.items():
        await bob.call("GET", f"/{path}/{id}", 404)
        await bob.call("DELETE", f"/{path}/{id}", 404)
        if "tags" in RESOURCES[path].schema.attributes:
            await bob.call("PUT", f"/{path}/{id}/tags", 404, {"tags": ["mine"]})
            await bob.call("DELETE", f"/{path}/{id}/tags", 404)
        assert id not in {thing["id"] for thing in await bob.list(path)}


async def test_a_reader_changes_nothing(neutron: AreaApi, things: dict[str, str]) -> None:  # noqa: F811
    reader = Client(neutron.client("red/reader", ""))
    for path, name in WRITABLE:
        body = {RESOURCES[path].schema.single: {name: VALUES[name]}}
        await reader.call("PUT", f"/{path}/{things[path]}", 403, body)
    for path, id in things.items():
        await reader.call("GET", f"/{path}/{id}", 200)
        await reader.call("DELETE", f"/{path}/{id}", 403)
        if "tags" in RESOURCES[path].schema.attributes:
            await reader.call("DELETE", f"/{path}/{id}/tags", 403)
    for action in ("add_router_interface", "remove_router_interface"):
        await reader.call("PUT", f"/routers/{things['routers']}/{action}", 403, {"subnet_id": things["subnets"]})


@pytest.mark.parametrize("path", sorted({path for path, _ in WRITABLE}))
async def test_an_owner_sets_what_policy_leaves_to_owners(alice: Client, neutron: AreaApi, things: dict[str, str], path: str) -> None:  # noqa: F811
    """What policy guards is 403 for a member; what it does not is never 403, and no attempt changes anything but what it says."""
    single, policy = RESOURCES[path].schema.single, neutron.cloud.policy
    for name in (name for of, name in WRITABLE if of == path):
        rule = f"update_{single}:{name}"
        guarded = policy.knows("neutron", rule) and not policy.allows("neutron", rule, _member(neutron), _target(name) | {name: VALUES[name]})
        before = await alice.show(path, things[path])
        answer = await alice.http.put(f"/network/v2.0/{path}/{things[path]}", json={single: {name: VALUES[name]}})
        if guarded:
            assert answer.status_code == 403, (name, answer.status_code, answer.text)
            assert await alice.show(path, things[path]) == before, name
        else:
            assert answer.status_code not in (403, 404, 500), (name, answer.status_code, answer.text)


def _member(neutron: AreaApi) -> Any:  # noqa: F811
    from moln.kernel.context import Identity, RequestContext

    who = Identity(user_id="u", project_id="red", roles=frozenset({"member", "reader"}))
    return RequestContext(neutron.cloud, "req", who)


def _target(name: str) -> dict[str, Any]:
    """alice's own, on her own network."""
    target = {"project_id": "red", "tenant_id": "red", "network:project_id": "red", "network:tenant_id": "red", "network:shared": False}
    # device_owner: stricter than policy, SEC-29
    return target | {"device_owner": "network:dhcp", "network:project_id": "x"} if name == "device_owner" else target
