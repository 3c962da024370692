"""Versions, extensions, quotas, agents: what clients ask before they do anything."""

from __future__ import annotations

from msgspec import structs
from tests.wire.areas import AreaApi
from tests.wire.network.conftest import Client, Inside


async def test_versions_need_no_token(neutron: AreaApi) -> None:
    http = neutron.client(None, "")
    answer = (await http.get("/network/")).json()
    assert answer["versions"][0]["id"] == "v2.0" and answer["versions"][0]["links"][0]["href"].endswith("/network/v2.0/")
    assert (await http.get("/network/v2.0")).status_code == 200
    refused = await http.get("/network/v2.0/networks")
    assert refused.status_code == 401 and "error" in refused.json()


async def test_only_extensions_that_work_are_told(alice: Client) -> None:
    told = {e["alias"] for e in await alice.list("extensions")}
    assert {"router", "security-group", "external-net", "provider", "binding", "standard-attr-tag"} <= told
    assert not {"bgp", "dvr", "metering"} & told
    await alice.call("GET", "/extensions/router", 200)
    await alice.call("GET", "/extensions/dvr", 404)


async def test_quotas_are_shown_set_and_reset(alice: Client, admin: Client) -> None:
    quota = (await alice.call("GET", "/quotas/red", 200))["quota"]
    assert quota["network"] == 100 and quota["floatingip"] == 50
    await alice.call("GET", "/quotas/blue", 403)
    await alice.call("PUT", "/quotas/red", 403, {"quota": {"network": 1}})
    changed = await admin.call("PUT", "/quotas/red", 200, {"quota": {"network": 1, "port": -1}})
    assert changed["quota"]["network"] == 1 and changed["quota"]["port"] == -1
    await alice.make("networks")
    assert (await alice.refused(409, "networks"))["type"] == "OverQuota"
    details = (await alice.call("GET", "/quotas/red/details", 200))["quota"]
    assert details["network"] == {"limit": 1, "used": 1, "reserved": 0}
    assert [q["project_id"] for q in (await admin.call("GET", "/quotas", 200))["quotas"]] == ["red"]
    for bad in ({"nonsense": 1}, {"network": "x"}, {"network": -2}):
        await admin.call("PUT", "/quotas/red", 400, {"quota": bad})
    await admin.call("DELETE", "/quotas/red", 204)
    await alice.make("networks")


async def test_agents_are_the_engines_nodes(alice: Client, admin: Client) -> None:
    assert await alice.list("agents") == []
    agents = await admin.list("agents")
    assert {(a["binary"], a["host"], a["alive"]) for a in agents} == {("ovn-controller", "node-1", True), ("moln-metadata", "node-1", True)}
    shown = (await admin.call("GET", f"/agents/{agents[0]['id']}", 200))["agent"]
    assert shown["configurations"]["bridge-mappings"] == "public"
    assert len(await admin.list("agents", binary="ovn-controller")) == 1
    await admin.call("GET", "/agents/none", 404)


async def test_zones_and_address_use_are_told(alice: Client, admin: Client, inside: Inside) -> None:
    assert {z["resource"] for z in await alice.list("availability_zones")} == {"network", "router"}
    answer = await admin.call("GET", f"/network-ip-availabilities/{inside.network['id']}", 200)
    assert answer["network_ip_availability"]["total_ips"] == 253 and answer["network_ip_availability"]["used_ips"] == 2


async def test_what_is_not_served_is_absent(admin: Client) -> None:
    for path in ("/metering/metering-labels", "/bgp-speakers", "/ndp_proxies", "/networks/x/y/z", "/nonsense"):
        error = (await admin.call("GET", path, 404))["NeutronError"]
        assert error["type"] == "HTTPNotFound"


async def test_no_odd_body_is_a_500(alice: Client) -> None:
    bodies = [[], "x", 5, None, {"network": []}, {"network": None}, {"networks": {}}, {"networks": [1]}, {"network": {"name": {"a": 1}}},
              {"network": {"tags": "x"}}, {"network": {"mtu": 10**30}}, {"network": {"mtu": True}}, {"x": {}}, {},
              {"network": {"availability_zone_hints": 5}}, {"network": {"project_id": 5}}, {"network": {"project_id": "other"}}]  # fmt: skip
    for body in bodies:
        await alice.call("POST", "/networks", 400, body)
    for raw in (b"{", b"\xff", b'{"network": {"name": "\\u0000"}}', b"[" * 1000):
        answer = await alice.http.post("/network/v2.0/networks", content=raw)
        assert answer.status_code == 400, raw
    assert await alice.list("networks") == []


async def test_readers_read_and_write_nothing(neutron: AreaApi, alice: Client) -> None:
    net = await alice.make("networks")
    reader = Client(neutron.client("red/reader", ""))
    assert len(await reader.list("networks")) == 1
    assert (await reader.refused(403, "networks"))["type"] == "PolicyNotAuthorized"
    assert (await reader.remove("networks", net["id"], 403))["type"] == "PolicyNotAuthorized"


async def test_agents_are_described_and_dead_ones_forgotten(neutron: AreaApi, alice: Client, admin: Client) -> None:
    [agent] = await admin.list("agents", binary="ovn-controller")
    path = f"/agents/{agent['id']}"
    await alice.call("PUT", path, 404, {"agent": {"description": "x"}})
    changed = (await admin.call("PUT", path, 200, {"agent": {"description": "rack 3", "admin_state_up": True}}))["agent"]
    assert changed["description"] == "rack 3" == (await admin.call("GET", path, 200))["agent"]["description"]
    assert len(await admin.list("agents", description="rack 3")) == 1
    for bad in ({"admin_state_up": False}, {"host": "x"}, {"description": 5}):
        await admin.call("PUT", path, 400, {"agent": bad})
    assert (await admin.call("DELETE", path, 409))["NeutronError"]["type"] == "AgentInUse"
    driver = neutron.cloud.areas["network"].driver
    driver.add_chassis(structs.replace((await driver.chassis())[0], seen_at=1))
    await alice.call("DELETE", path, 404)
    await admin.call("DELETE", path, 204)
    assert await admin.list("agents") == []


async def test_a_routers_gateway_is_at_the_agents_that_stand_by_for_it(neutron: AreaApi, alice: Client, admin: Client, inside: Inside) -> None:
    driver = neutron.cloud.areas["network"].driver
    driver.add_chassis(structs.replace((await driver.chassis())[0], name="node-2", hostname="node-2"))
    driver.add_chassis(structs.replace((await driver.chassis())[0], name="node-3", hostname="node-3", physical_networks=()))
    await neutron.settle()
    path = f"/routers/{inside.router['id']}/l3-agents"
    found = (await admin.call("GET", path, 200))["agents"]
    told = {r.columns["chassis_name"]: r.columns["priority"] for r in driver.engine.rows.values() if r.table == "Gateway_Chassis"}
    assert {a["host"]: a["ha_chassis_priority"] for a in found} == told and set(told) == {"node-1", "node-2"}
    await alice.call("GET", path, 404)
    for agent in found:
        [router] = (await admin.call("GET", f"/agents/{agent['id']}/l3-routers?fields=id", 200))["routers"]
        assert router == {"id": inside.router["id"]}
    [lone] = await admin.list("agents", host="node-3", binary="ovn-controller")
    assert (await admin.call("GET", f"/agents/{lone['id']}/l3-routers", 200))["routers"] == []
    await admin.call("GET", "/routers/none/l3-agents", 404)
    bare = await alice.make("routers")
    assert (await admin.call("GET", f"/routers/{bare['id']}/l3-agents", 200))["agents"] == []


async def test_no_agent_serves_dhcp(admin: Client, alice: Client, inside: Inside) -> None:
    path = f"/networks/{inside.network['id']}/dhcp-agents"
    assert (await admin.call("GET", path, 200))["agents"] == []
    await alice.call("GET", path, 404)
    [agent] = await admin.list("agents", binary="ovn-controller")
    assert (await admin.call("GET", f"/agents/{agent['id']}/dhcp-networks", 200))["networks"] == []


async def test_actions_are_bound_to_a_revision_too(alice: Client, inside: Inside) -> None:
    stale = {"If-Match": "revision_number=1"}
    port = await alice.make("ports", network_id=inside.network["id"])
    trunk, group = await alice.make("trunks", port_id=port["id"]), await alice.make("address-groups")
    trunk, group = await alice.change("trunks", trunk["id"], name="x"), await alice.change("address-groups", group["id"], name="x")
    router = await alice.change("routers", inside.router["id"], name="x")
    routes = {"router": {"routes": [{"destination": "10.77.0.0/24", "nexthop": "10.0.0.9"}]}}
    for path, body in (
        (f"/routers/{router['id']}/add_extraroutes", routes), (f"/routers/{router['id']}/remove_router_interface", {"subnet_id": inside.subnet["id"]}),
        (f"/routers/{router['id']}/update_external_gateways", {"router": {"external_gateways": []}}),
        (f"/trunks/{trunk['id']}/add_subports", {"sub_ports": []}), (f"/address-groups/{group['id']}/add_addresses", {"addresses": ["10.0.0.0/8"]}),
    ):  # fmt: skip
        assert (await alice.call("PUT", path, 412, body, headers=stale))["NeutronError"]["type"] == "RevisionNumberConstraintFailed"
    fresh = {"If-Match": f"revision_number={router['revision_number']}"}
    await alice.call("PUT", f"/routers/{router['id']}/add_extraroutes", 200, routes, headers=fresh)
