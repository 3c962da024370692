"""Nova's views of other areas: what each shows and does, and that each ends with its last microversion."""

from __future__ import annotations

from typing import Any

import pytest
from tests.compute.world import World, world  # noqa: F401 (a fixture)

OLD = "2.35"
NOWHERE = "11111111-1111-4111-8111-111111111111"


async def old(world: World, method: str, path: str, status: int = 200, body: Any = None, version: str = OLD, **more: Any) -> Any:  # noqa: F811
    return await world.call(method, path, status, body, version, **more)


@pytest.mark.parametrize(
    ("path", "last", "first_without"),
    [("/images", "2.35", "2.36"), ("/images/detail", "2.35", "2.36"), ("/os-floating-ips", "2.35", "2.36"),
     ("/os-floating-ip-pools", "2.35", "2.36"), ("/os-security-groups", "2.35", "2.36"), ("/os-networks", "2.35", "2.36"),
     ("/os-tenant-networks", "2.35", "2.36"), ("/os-volumes", "2.35", "2.36"), ("/os-volumes/detail", "2.35", "2.36"),
     ("/os-snapshots", "2.35", "2.36"), ("/os-snapshots/detail", "2.35", "2.36"), ("/os-hosts", "2.42", "2.43"),
     ("/os-volumes_boot", "2.102", "2.103"), ("/os-volumes_boot/detail", "2.102", "2.103")],
)  # fmt: skip
async def test_each_ends_with_its_last_microversion(api: Any, path: str, last: str, first_without: str) -> None:
    for version, status in ((last, 200), (first_without, 404)):
        answer = await api.admin.get(f"/compute/v2.1{path}", headers={"OpenStack-API-Version": f"compute {version}"})
        assert answer.status_code == status, answer.text


async def outside(world: World) -> None:  # noqa: F811
    """An external network, and a router between it and the project's own."""
    admin = world.api.admin
    public = {"name": "public", "router:external": True}
    made = (await admin.post("/network/v2.0/networks", json={"network": public})).json()["network"]["id"]
    subnet = {"network_id": made, "cidr": "203.0.113.0/24", "ip_version": 4, "enable_dhcp": False}
    assert (await admin.post("/network/v2.0/subnets", json={"subnet": subnet})).status_code == 201
    router = (await world.neutron("POST", "/routers", {"router": {"external_gateway_info": {"network_id": made}}}))["router"]["id"]
    await world.neutron("PUT", f"/routers/{router}/add_router_interface", {"subnet_id": world.subnet})


async def test_a_floating_address_comes_and_goes(world: World) -> None:  # noqa: F811
    assert (await old(world, "GET", "/os-floating-ip-pools")) == {"floating_ip_pools": []}
    await old(world, "POST", "/os-floating-ips", 404)
    await outside(world)
    assert (await old(world, "GET", "/os-floating-ip-pools")) == {"floating_ip_pools": [{"name": "public"}]}
    await old(world, "POST", "/os-floating-ips", 404, {"pool": "nowhere"})
    made = (await old(world, "POST", "/os-floating-ips", 200, {"pool": "public"}))["floating_ip"]
    assert made["ip"].startswith("203.0.113.") and (made["pool"], made["fixed_ip"], made["instance_id"]) == ("public", None, None)
    server, other = await world.boot(), await world.boot()
    act = f"/servers/{server['id']}/action"
    fixed = server["addresses"]["net"][0]["addr"]
    await old(world, "POST", act, 404, {"addFloatingIp": {"address": "203.0.113.250"}})
    await old(world, "POST", act, 400, {"addFloatingIp": {"address": ""}})
    await old(world, "POST", act, 400, {"addFloatingIp": {"address": made["ip"], "fixed_address": "10.1.0.250"}})
    await old(world, "POST", act, 404, {"addFloatingIp": {"address": made["ip"]}}, "2.44")
    await old(world, "POST", act, 202, {"addFloatingIp": {"address": made["ip"], "fixed_address": fixed}}, "2.43")
    shown = (await old(world, "GET", f"/os-floating-ips/{made['id']}"))["floating_ip"]
    assert shown == made | {"fixed_ip": fixed, "instance_id": server["id"]}
    kinds = [(a["OS-EXT-IPS:type"], a["addr"]) for a in (await world.show(server))["addresses"]["net"]]
    assert kinds == [("fixed", fixed), ("floating", made["ip"])]
    refused = await old(world, "POST", f"/servers/{other['id']}/action", 409, {"removeFloatingIp": {"address": made["ip"]}})
    assert refused["conflictingRequest"]["message"] == f"Floating IP {made['ip']} is not associated with instance {other['id']}."
    await old(world, "POST", act, 202, {"removeFloatingIp": {"address": made["ip"]}})
    assert (await old(world, "GET", "/os-floating-ips"))["floating_ips"] == [made]
    await old(world, "DELETE", f"/os-floating-ips/{made['id']}", 202)
    for method in ("GET", "DELETE"):
        gone = await old(world, method, f"/os-floating-ips/{made['id']}", 404)
        assert gone["itemNotFound"]["message"] == f"Floating IP not found for ID {made['id']}"


async def test_a_card_has_one_more_address_or_one_less(world: World) -> None:  # noqa: F811
    server = await world.boot()
    act, first = f"/servers/{server['id']}/action", server["addresses"]["net"][0]["addr"]
    await old(world, "POST", act, 404, {"addFixedIp": {"networkId": NOWHERE}})
    await old(world, "POST", act, 202, {"addFixedIp": {"networkId": world.network}}, "2.43")
    both = [a["addr"] for a in (await world.show(server))["addresses"]["net"]]
    assert len(both) == 2 and first in both
    await old(world, "POST", act, 400, {"removeFixedIp": {"address": "10.1.0.250"}})
    await old(world, "POST", act, 202, {"removeFixedIp": {"address": first}})
    assert [a["addr"] for a in (await world.show(server))["addresses"]["net"]] == [a for a in both if a != first]
    await old(world, "POST", act, 404, {"addFixedIp": {"networkId": world.network}}, "2.44")
    await world.settle()
    assert not await world.violations()


async def test_security_groups_and_their_ingress_rules(world: World) -> None:  # noqa: F811
    (default,) = (await old(world, "GET", "/os-security-groups"))["security_groups"]
    assert default["name"] == "default" and {r["group"].get("name") for r in default["rules"]} == {"default"}
    for wrong in ({"name": "g"}, {"name": "g" * 256, "description": "d"}, {"name": 7, "description": "d"}, {"name": "default", "description": "d"}):
        await old(world, "POST", "/os-security-groups", 400, {"security_group": wrong})
    made = (await old(world, "POST", "/os-security-groups", 200, {"security_group": {"name": "web", "description": "d"}}))["security_group"]
    assert (made["name"], made["description"], made["rules"]) == ("web", "d", [])
    path = f"/os-security-groups/{made['id']}"
    wanted = {"parent_group_id": made["id"], "ip_protocol": "tcp", "from_port": 80, "to_port": "443", "cidr": "10.0.0.0/8"}
    rule = (await old(world, "POST", "/os-security-group-rules", 200, {"security_group_rule": wanted}))["security_group_rule"]
    assert rule == {"id": rule["id"], "parent_group_id": made["id"], "ip_protocol": "tcp", "from_port": 80, "to_port": 443, "group": {},
                    "ip_range": {"cidr": "10.0.0.0/8"}}  # fmt: skip
    await old(world, "POST", "/os-security-group-rules", 400, {"security_group_rule": wanted})  # the same once more
    peer = {"parent_group_id": made["id"], "group_id": default["id"], "ip_protocol": "udp"}
    said = (await old(world, "POST", "/os-security-group-rules", 200, {"security_group_rule": peer}))["security_group_rule"]
    assert (said["from_port"], said["to_port"], said["group"]["name"], said["ip_range"]) == (1, 65535, "default", {})
    ping = {"parent_group_id": made["id"], "ip_protocol": "icmp", "from_port": -1, "to_port": -1}
    said = (await old(world, "POST", "/os-security-group-rules", 200, {"security_group_rule": ping}))["security_group_rule"]
    assert (said["from_port"], said["to_port"], said["ip_range"]) == (-1, -1, {"cidr": "0.0.0.0/0"})
    for status, change in ((404, {"parent_group_id": NOWHERE}), (400, {"parent_group_id": 7}), (400, {"ip_protocol": "gre"}), (400, {"from_port": 444}),
                           (400, {"from_port": 0}), (400, {"to_port": "x"}), (400, {"cidr": "10.0.0.0/99"}), (400, {"from_port": None}),
                           (404, {"group_id": NOWHERE})):  # fmt: skip
        await old(world, "POST", "/os-security-group-rules", status, {"security_group_rule": wanted | change})
    assert len((await old(world, "GET", path))["security_group"]["rules"]) == 3
    await old(world, "DELETE", f"/os-security-group-rules/{rule['id']}", 202)
    await old(world, "DELETE", f"/os-security-group-rules/{rule['id']}", 404)
    await old(world, "DELETE", "/os-security-group-rules/7", 400)
    changed = await old(world, "PUT", path, 200, {"security_group": {"name": "www", "description": ""}})
    assert (changed["security_group"]["name"], changed["security_group"]["description"]) == ("www", "")
    server = await world.boot(security_groups=[{"name": "www"}])
    await old(world, "DELETE", path, 400)  # a port wears it
    await world.call("DELETE", f"/servers/{server['id']}", 204)
    await world.settle()
    await old(world, "DELETE", path, 202)
    await old(world, "GET", path, 404)
    await old(world, "GET", "/os-security-groups/7", 400)
    await old(world, "DELETE", f"/os-security-groups/{default['id']}", 400)


async def test_networks_by_name_only(world: World) -> None:  # noqa: F811
    (mine,) = (await old(world, "GET", "/os-networks"))["networks"]
    assert (mine["id"], mine["label"], mine["cidr"]) == (world.network, "net", None) and "vlan" not in mine
    tenant = await old(world, "GET", f"/os-tenant-networks/{world.network}")
    assert tenant == {"network": {"id": world.network, "label": "net", "cidr": "None"}}
    await outside(world)
    assert [n["label"] for n in (await old(world, "GET", "/os-tenant-networks"))["networks"]] == ["net", "public"]
    seen = (await old(world, "GET", f"/os-networks/{world.network}", admin=True))["network"]
    assert seen["label"] == "net" and "vlan" in seen
    for kind in ("os-networks", "os-tenant-networks"):
        assert (await old(world, "GET", f"/{kind}/{NOWHERE}", 404))["itemNotFound"]["message"] == "Network not found"


async def test_volumes_and_snapshots(world: World) -> None:  # noqa: F811
    for wrong in ({"size": 0}, {"size": "x"}, {}):
        await old(world, "POST", "/os-volumes", 400, {"volume": wrong})
    made = (await old(world, "POST", "/os-volumes", 200, {"volume": {"size": "1", "display_name": "v", "metadata": {"a": "b"}}}))["volume"]
    assert (made["size"], made["displayName"], made["metadata"], made["attachments"]) == (1, "v", {"a": "b"}, [{}])
    await world.settle()
    shot = {"volume_id": made["id"], "display_name": "s"}
    snapshot = (await old(world, "POST", "/os-snapshots", 200, {"snapshot": shot}))["snapshot"]
    await world.settle()
    assert (await old(world, "GET", f"/os-snapshots/{snapshot['id']}"))["snapshot"] == snapshot | {"status": "available"}
    assert [s["volumeId"] for s in (await old(world, "GET", "/os-snapshots/detail"))["snapshots"]] == [made["id"]]
    await old(world, "POST", "/os-snapshots", 404, {"snapshot": {"volume_id": NOWHERE}})
    await old(world, "DELETE", f"/os-snapshots/{snapshot['id']}", 202)
    await world.settle()
    await old(world, "GET", f"/os-snapshots/{snapshot['id']}", 404)
    server = await world.boot(networks="none")
    await world.call("POST", f"/servers/{server['id']}/os-volume_attachments", 200, {"volumeAttachment": {"volumeId": made["id"]}})
    await world.settle()
    shown = (await old(world, "GET", f"/os-volumes/{made['id']}"))["volume"]
    (on,) = shown["attachments"]
    assert (shown["status"], on["serverId"], on["device"]) == ("in-use", server["id"], "/dev/vdb")
    assert (await old(world, "GET", "/os-volumes/detail"))["volumes"] == [shown]
    assert (await old(world, "GET", "/os-volumes?offset=1"))["volumes"] == []
    await old(world, "DELETE", f"/os-volumes/{made['id']}", 400)
    await world.call("DELETE", f"/servers/{server['id']}", 204)
    await world.settle()
    await old(world, "DELETE", f"/os-volumes/{made['id']}", 202)
    await world.settle()
    await old(world, "GET", f"/os-volumes/{made['id']}", 404)


async def test_images_and_their_metadata(world: World) -> None:  # noqa: F811
    server = await world.boot(networks="none")
    made = (await world.act(server, {"createImage": {"name": "shot", "metadata": {"kind": "test"}}}))["image_id"]
    await world.settle()
    brief = (await old(world, "GET", "/images"))["images"]
    assert {i["name"] for i in brief} == {"cirros", "shot"} and {link["rel"] for link in brief[0]["links"]} == {"self", "bookmark", "alternate"}
    for query in (f"server={server['id']}", f"server=http://x/servers/{server['id']}", "type=snapshot", "name=shot", "property-kind=test", "limit=1"):
        assert [i["id"] for i in (await old(world, "GET", f"/images/detail?{query}"))["images"]] == [made], query
    for query in ("status=DELETED", "minDisk=77", "changes-since=2100-01-01T00:00:00Z"):
        assert (await old(world, "GET", f"/images?{query}"))["images"] == [], query
    assert len((await old(world, "GET", "/images?status=active"))["images"]) == 2
    await old(world, "GET", "/images?changes-since=yesterday", 400)
    page = await old(world, "GET", "/images?limit=1")
    assert f"marker={made}" in page["images_links"][0]["href"]
    shown = (await old(world, "GET", f"/images/{made}"))["image"]
    assert (shown["status"], shown["progress"], shown["minDisk"], shown["server"]["id"]) == ("ACTIVE", 100, 1, server["id"])
    path = f"/images/{made}/metadata"
    assert (await old(world, "PUT", path, 200, {"metadata": {"a": "1", "b": "2"}}, "2.38"))["metadata"] == {"a": "1", "b": "2"}
    assert (await old(world, "POST", path, 200, {"metadata": {"b": "3"}}))["metadata"] == {"a": "1", "b": "3"}
    assert await old(world, "PUT", f"{path}/c", 200, {"meta": {"c": "4"}}) == {"meta": {"c": "4"}}
    await old(world, "PUT", f"{path}/c", 400, {"meta": {"d": "4"}})
    assert await old(world, "GET", f"{path}/c") == {"meta": {"c": "4"}}
    await old(world, "DELETE", f"{path}/c", 204)
    for method in ("GET", "DELETE"):
        await old(world, method, f"{path}/c", 404)
    assert (await old(world, "GET", path, version="2.38"))["metadata"] == {"a": "1", "b": "3"}
    await old(world, "GET", path, 404, version="2.39")
    await old(world, "POST", path, 403, {"metadata": {f"k{n}": "v" for n in range(129)}})
    await old(world, "POST", path, 400, {"metadata": {"name": "another"}})
    await old(world, "DELETE", f"/images/{world.image}", 403)
    await old(world, "DELETE", f"/images/{made}", 204)
    assert (await old(world, "GET", f"/images/{made}", 404))["itemNotFound"]["message"] == "Image not found."


async def test_hosts_by_name(world: World) -> None:  # noqa: F811
    server = await world.boot(networks="none")
    await old(world, "GET", "/os-hosts", 403)
    assert (await old(world, "GET", "/os-hosts?zone=nova", admin=True))["hosts"] == [{"host_name": "sim-1", "service": "compute", "zone": "nova"}]
    assert (await old(world, "GET", "/os-hosts?zone=east", admin=True))["hosts"] == []
    found = [r["resource"] for r in (await old(world, "GET", "/os-hosts/sim-1", admin=True))["host"]]
    assert [r["project"] for r in found] == ["(total)", "(used_now)", "(used_max)", server["tenant_id"]]
    assert found[3] == found[2] | {"project": server["tenant_id"]} == {
        "host": "sim-1", "project": server["tenant_id"], "cpu": 1, "memory_mb": 128, "disk_gb": 1}  # fmt: skip
    assert found[1]["memory_mb"] == 128 + 512 and found[0]["memory_mb"] == 262144
    assert await old(world, "PUT", "/os-hosts/sim-1", 200, {"status": "Disable"}, admin=True) == {"host": "sim-1", "status": "disabled"}
    assert (await world.call("GET", "/os-services", 200, admin=True))["services"][0]["status"] == "disabled"
    assert await old(world, "PUT", "/os-hosts/sim-1", 200, {"status": "enable"}, admin=True) == {"host": "sim-1", "status": "enabled"}
    await old(world, "PUT", "/os-hosts/sim-1", 400, {}, admin=True)
    await old(world, "PUT", "/os-hosts/sim-1", 400, {"status": "sleep"}, admin=True)
    await old(world, "PUT", "/os-hosts/sim-1", 501, {"maintenance_mode": "enable"}, admin=True)
    for power in ("reboot", "shutdown", "startup"):
        await old(world, "GET", f"/os-hosts/sim-1/{power}", 501, admin=True)
        await old(world, "GET", f"/os-hosts/sim-9/{power}", 404, admin=True)
        await old(world, "GET", f"/os-hosts/sim-1/{power}", 403)


async def test_servers_under_their_old_name(world: World) -> None:  # noqa: F811
    asked = {"name": "old", "flavorRef": world.small, "imageRef": world.image, "networks": "none"}
    made = (await world.call("POST", "/os-volumes_boot", 202, {"server": asked}, "2.102"))["server"]
    await world.settle()
    assert (await world.call("GET", f"/os-volumes_boot/{made['id']}", 200, None, "2.102"))["server"]["status"] == "ACTIVE"
    await world.call("POST", f"/os-volumes_boot/{made['id']}/action", 202, {"os-stop": None}, "2.102")
    await world.settle()
    assert (await world.show(made))["status"] == "SHUTOFF"
    await world.call("DELETE", f"/os-volumes_boot/{made['id']}", 404, None, "2.103")
    await world.call("DELETE", f"/os-volumes_boot/{made['id']}", 204, None, "2.102")


async def test_a_version_by_its_id(api: Any) -> None:
    shown = (await api.member.get("/compute/v2.1/versions/v2.1")).json()["version"]
    assert shown["id"] == "v2.1" and shown["media-types"]
    assert (await api.member.get("/compute/v2.1/versions/v2.0")).status_code == 404


async def test_there_is_no_bare_metal(api: Any) -> None:
    headers = {"OpenStack-API-Version": "compute 2.35"}
    for client, path, status in ((api.member, "", 403), (api.admin, "", 501), (api.admin, "/n", 501)):
        assert (await client.get(f"/compute/v2.1/os-baremetal-nodes{path}", headers=headers)).status_code == status
    assert (await api.admin.post("/compute/v2.1/os-baremetal-nodes", json={}, headers=headers)).status_code == 400


async def test_an_empty_id_is_none(api: Any) -> None:
    for method, path in (("GET", "/os-volumes/"), ("DELETE", "/images/"), ("DELETE", "/os-security-groups/"), ("GET", "/os-simple-tenant-usage/"),
                         ("GET", "/servers/"), ("DELETE", "/servers/")):  # fmt: skip
        assert (await api.admin.request(method, f"/compute/v2.1{path}")).status_code == 404, path
    for path in ("/compute/", "/compute", "/compute/v2.1/", "/compute/v2.1"):
        assert (await api.anonymous.get(path)).status_code == 200, path
