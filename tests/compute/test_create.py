"""POST /servers refuses what Nova refuses, in its words; and takes what it takes."""

from __future__ import annotations

import base64
from typing import Any

from tests.compute.world import World, world

__all__ = ["world"]
NOWHERE = "00000000-0000-4000-8000-000000000000"


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"name": ""}, 400, "name"),
    ({"name": " x"}, 400, "name"),
    ({"name": "x" * 256}, 400, "name"),
    ({"flavorRef": "none"}, 400, "Flavor none could not be found."),
    ({"imageRef": NOWHERE}, 400, "Can not find requested image"),
    ({"imageRef": "cirros"}, 400, "Invalid imageRef provided."),
    ({"imageRef": None}, 400, "Missing imageRef attribute"),
    ({"networks": None}, 400, "'networks' is a required property"),
    ({"networks": "all"}, 400, "networks"),
    ({"networks": [{"uuid": NOWHERE}]}, 400, f"Network {NOWHERE} could not be found."),
    ({"networks": [{"port": NOWHERE}]}, 400, f"Port id {NOWHERE} could not be found."),
    ({"networks": [{"uuid": "net"}]}, 400, "not in proper format"),
    ({"networks": [{}]}, 400, "Bad network format: missing 'uuid'"),
    ({"security_groups": [{"name": "none"}]}, 400, "Security group none not found for project"),
    ({"key_name": "none"}, 400, "Invalid key_name provided."),
    ({"user_data": "%%%"}, 400, "user_data"),
    ({"user_data": "A" * 65536}, 400, "user_data"),
    ({"config_drive": "maybe"}, 400, "config_drive"),
    ({"metadata": {"a/b": "c"}}, 400, "metadata"),
    ({"metadata": {"a": "c" * 256}}, 400, "metadata"),
    ({"metadata": {f"k{n}": "" for n in range(129)}}, 403, "Maximum number of metadata items exceeds 128"),
    ({"min_count": 2, "max_count": 1}, 400, "min_count must be <= max_count"),
    ({"min_count": 0}, 400, "min_count"),
    ({"availability_zone": "mars"}, 400, "The requested availability zone is not available"),
    ({"availability_zone": "nova:sim-1"}, 403, "os_compute_api:servers:create:forced_host"),
    ({"host": "sim-1"}, 403, "compute:servers:create:requested_destination"),
    ({"tags": ["a,b"]}, 400, "tags"),
    ({"hostname": "a b"}, 400, "hostname"),
    ({"min_count": 2, "hostname": "one"}, 400, "Unable to allocate a single hostname to multiple instances"),
    ({"unheard": 1}, 400, "'unheard' was unexpected"),
    ({"OS-DCF:diskConfig": "SOME"}, 400, "diskConfig"),
    ({"min_count": 11}, 403, "Quota exceeded for instances: Requested 11, but already used 0 of 10 instances"),
    ({"block_device_mapping_v2": [{"source_type": "volume", "destination_type": "volume", "boot_index": 1}]}, 400,
     "Block Device Mapping is Invalid: Missing device UUID."),
    ({"block_device_mapping_v2": [{"source_type": "volume", "destination_type": "volume", "uuid": NOWHERE, "boot_index": 2}]}, 400,
     "Boot sequence"),
    ({"block_device_mapping_v2": [{"source_type": "volume", "destination_type": "volume", "uuid": NOWHERE}]}, 400,
     f"failed to get volume {NOWHERE}."),
    ({"block_device_mapping_v2": [{"source_type": "blank", "destination_type": "volume"}]}, 400, "non-zero size"),
    ({"min_count": 0x7FFFFFFF, "max_count": 0x7FFFFFFF}, 403, "Quota exceeded for cores, instances, ram"),
    ({"block_device_mapping_v2": [{"source_type": "blank", "destination_type": "volume", "volume_size": 1}] * 30}, 403, "VolumeLimitExceeded"),
    ({"block_device_mapping_v2": [{"source_type": "cloud"}]}, 400, "source_type"),
]  # fmt: skip


async def test_bad_input_is_refused(world: World) -> None:
    for asked, status, text in REFUSED:
        answer = await world.create(status, **asked)
        (kind,) = answer
        assert kind == {400: "badRequest", 403: "forbidden"}[status], asked
        assert answer[kind]["code"] == status
        assert text in answer[kind]["message"], (asked, answer)
    assert (await world.call("GET", "/servers"))["servers"] == []
    assert await world.violations() == []


async def test_older_microversions_need_no_networks_and_know_no_newer_fields(world: World) -> None:
    made = await world.create(202, "2.1", networks=None)
    assert made["server"]["adminPass"]
    await world.create(400, "2.1", networks=None, description="new")
    await world.create(400, "2.36", networks="auto")
    await world.settle()
    old = await world.show(made["server"], version="2.1")
    assert old["status"] == "ACTIVE"
    assert old["flavor"]["id"] == world.small
    assert not {"locked", "description", "tags", "host_status", "locked_reason"} & old.keys()


async def test_auto_takes_the_only_network_and_none_takes_none(world: World) -> None:
    assert list((await world.boot(networks="auto"))["addresses"]) == ["net"]
    assert (await world.boot(networks="none"))["addresses"] == {}
    await world.neutron("POST", "/networks", {"network": {"name": "other"}})
    answer = await world.create(409, networks="auto")
    assert "Multiple possible networks found" in answer["conflictingRequest"]["message"]


async def test_a_fixed_address_a_port_and_a_group(world: World) -> None:
    group = (await world.neutron("POST", "/security-groups", {"security_group": {"name": "web"}}))["security_group"]["id"]
    port = (await world.neutron("POST", "/ports", {"port": {"network_id": world.network}}))["port"]
    server = await world.boot(
        networks=[{"uuid": world.network, "fixed_ip": "10.1.0.77", "tag": "first"}, {"port": port["id"]}], security_groups=[{"name": "web"}]
    )
    assert [a["addr"] for a in server["addresses"]["net"]] == ["10.1.0.77", port["fixed_ips"][0]["ip_address"]]
    cards = (await world.call("GET", f"/servers/{server['id']}/os-interface"))["interfaceAttachments"]
    assert [c["tag"] for c in cards] == ["first", None]
    worn = [p["security_groups"] for p in (await world.neutron("GET", f"/ports?device_id={server['id']}"))["ports"]]
    assert [group] in worn
    await world.create(400, networks=[{"uuid": world.network, "fixed_ip": "10.1.0.77"}])
    await world.create(409, networks=[{"port": port["id"]}])
    await world.call("DELETE", f"/servers/{server['id']}", 204)
    await world.settle()
    left = (await world.neutron("GET", "/ports"))["ports"]
    assert [p["device_id"] for p in left if p["id"] == port["id"]] == [""]
    assert await world.violations() == []


async def test_several_at_once(world: World) -> None:
    answer = await world.create(name="many", min_count=2, max_count=3, return_reservation_id=True)
    assert list(answer) == ["reservation_id"]
    await world.settle()
    found = (await world.call("GET", f"/servers/detail?reservation_id={answer['reservation_id']}&sort_key=display_name&sort_dir=asc"))["servers"]
    assert [(s["name"], s["status"], s["OS-EXT-SRV-ATTR:hostname"]) for s in found] == [
        ("many-1", "ACTIVE", "many-1"), ("many-2", "ACTIVE", "many-2"), ("many-3", "ACTIVE", "many-3"),
    ]  # fmt: skip


async def test_as_many_as_quota_allows_but_the_least(world: World) -> None:
    await world.boot(name="first", min_count=6)
    await world.create(min_count=2, max_count=20)
    await world.settle()
    assert len((await world.call("GET", "/servers"))["servers"]) == 10


async def test_user_data_is_shown_to_administrators_as_it_came(world: World) -> None:
    text = base64.b64encode(b"#!/bin/sh\n").decode()
    server = await world.boot(user_data=text, config_drive="true")
    assert server["config_drive"] == "True"
    assert "OS-EXT-SRV-ATTR:user_data" not in server
    assert (await world.show(server, admin=True))["OS-EXT-SRV-ATTR:user_data"] == text
    drive = world.api.nodes["sim-1"].drive_of(server["id"])
    assert "openstack/latest/user_data" in drive
    assert "openstack/latest/meta_data.json" in drive


async def test_an_administrator_chooses_the_host(world: World) -> None:
    body = {"server": {"name": "x", "flavorRef": world.small, "imageRef": world.image, "networks": "none", "availability_zone": "nova:sim-1"}}
    made = (await world.call("POST", "/servers", 202, body, admin=True))["server"]
    await world.settle()
    seen = await world.show(made, admin=True)
    assert (seen["status"], seen["OS-EXT-SRV-ATTR:host"], seen["host_status"]) == ("ACTIVE", "sim-1", "UP")


async def test_a_project_without_a_network_is_given_one(world: World) -> None:
    admin = world.api.admin
    assert (await world.api.member.delete(f"/network/v2.0/networks/{world.network}")).status_code == 204
    outside = {"network": {"name": "outside", "router:external": True, "is_default": True}}
    made = (await admin.post("/network/v2.0/networks", json=outside)).json()["network"]
    subnet = {"subnet": {"network_id": made["id"], "ip_version": 4, "cidr": "198.51.100.0/24", "enable_dhcp": False}}
    assert (await admin.post("/network/v2.0/subnets", json=subnet)).status_code == 201
    await world.create(400, networks="auto")  # no default pool of addresses yet
    pool = {"subnetpool": {"name": "p", "prefixes": ["10.9.0.0/16"], "default_prefixlen": 24, "is_default": True, "shared": True}}
    assert (await admin.post("/network/v2.0/subnetpools", json=pool)).status_code == 201
    for _ in range(2):
        assert list((await world.boot(networks="auto"))["addresses"]) == ["auto_allocated_network"]
