"""What a server is told at its first boot: by a drive and by the network, over IPv4 and IPv6."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.guests import Guest
from tests.e2e.waiting import until
from tests.e2e.world import Tenant, new_nonce

PREFIX = "fd00:50::/64"
GATEWAY = PREFIX.replace("/64", "1")
NONCE = new_nonce()
SCRIPT = f"#!/bin/sh\necho {NONCE} > /root/nonce\n"


@pytest.fixture(scope="module")
def told(north: Tenant, home_network: Any, one: Guest) -> Iterator[Guest]:
    """A server with a config drive and user data, on the network with both families."""
    subnet = north.conn.network.create_subnet(
        network_id=home_network.id, name="six", ip_version=6, cidr=PREFIX, ipv6_ra_mode="slaac", ipv6_address_mode="slaac"
    )
    router = north.conn.network.find_router("home")
    north.conn.network.add_interface_to_router(router, subnet_id=subnet.id)
    guest = north.guest("told", home_network, user_data=SCRIPT, config_drive=True, metadata={"colour": "green"}).wait()
    yield guest
    guest.delete()
    north.conn.network.remove_interface_from_router(router, subnet_id=subnet.id)
    north.conn.network.delete_subnet(subnet.id)


def test_user_data_runs_once_and_the_host_has_its_servers_name(told: Guest) -> None:
    until(lambda: "READY" in told.console(), "the guest is ready", 60)
    assert told.run("cat /root/nonce; hostname") == f"{NONCE}\ntold"
    assert "metadata source=configdrive" in told.console()


def test_the_config_drive_says_what_the_metadata_service_says(told: Guest) -> None:
    for name in ("meta_data.json", "network_data.json"):
        drive = json.loads(told.run(f"cat /mnt/config/openstack/latest/{name}"))
        service = json.loads(told.run(f"timeout 20 wget -q -O - http://169.254.169.254/openstack/latest/{name}"))
        for found in (drive, service):
            found.pop("random_seed", None)
        assert drive == service
    meta = json.loads(told.run("cat /mnt/config/openstack/latest/meta_data.json"))
    assert (meta["uuid"], meta["name"], meta["meta"]) == (told.id, "told", {"colour": "green"})
    assert told.run("cat /mnt/config/openstack/latest/user_data") == SCRIPT.strip()
    assert told.run("timeout 20 wget -q -O - http://169.254.169.254/latest/meta-data/local-ipv4") == first(told, 4)


def first(guest: Guest, version: int) -> str:
    return next(str(ip["ip_address"]) for ip in guest.port().fixed_ips if (":" in ip["ip_address"]) == (version == 6))


def test_network_data_describes_the_card(told: Guest) -> None:
    data = json.loads(told.run("cat /mnt/config/openstack/latest/network_data.json"))
    (link,) = data["links"]
    assert link["ethernet_mac_address"] == told.port().mac_address
    assert link["mtu"] == int(told.run("cat /sys/class/net/eth0/mtu"))
    kinds = {n["type"] for n in data["networks"]}
    assert "ipv4_dhcp" in kinds and any(k.startswith("ipv6") for k in kinds)


def test_the_card_makes_the_address_that_the_port_has_by_slaac(told: Guest) -> None:
    wanted = first(told, 6)
    until(lambda: wanted in told.run("ip -6 addr show dev eth0 scope global"), "the address", 30)
    assert "via fe80::" in told.run("ip -6 route show default")
    assert told.works(f"ping -6 -c 2 -W 2 {GATEWAY}")


def test_a_forged_ipv6_address_is_dropped(told: Guest) -> None:
    """SEC-28: neither its packets nor its neighbour advertisements."""
    forged = PREFIX.replace("/64", "bad")
    told.run(f"ip -6 addr add {forged}/64 dev eth0")
    until(lambda: "tentative" not in told.run("ip -6 addr show dev eth0"), "the address may be used", 20)
    try:
        assert not told.works(f"ping -6 -c 2 -W 2 -I {forged} {GATEWAY}")
        assert told.works(f"ping -6 -c 2 -W 2 -I {first(told, 6)} {GATEWAY}")
    finally:
        told.run(f"ip -6 addr del {forged}/64 dev eth0")


def test_neighbours_find_each_other_by_name(told: Guest, one: Guest) -> None:
    assert "10.50.0.10" in told.run("nslookup one 2>&1 || nslookup one.openstacklocal 2>&1")
