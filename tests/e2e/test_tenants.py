"""Two tenants with the same addresses, and guests that lie about who they are (SEC-26, SEC-28)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.e2e.guests import Guest
from tests.e2e.waiting import until
from tests.e2e.world import World

METADATA = "http://169.254.169.254/openstack/latest/meta_data.json"


@pytest.fixture(scope="module")
def stranger(world: World, one: Guest) -> Any:
    """Another tenant's server, with the addresses of `one`."""
    south = world.tenant("south")
    network, _ = south.network("home")
    guest = south.guest("stranger", network, address="10.50.0.10").wait()
    yield guest
    guest.delete()


def metadata(guest: Guest, *headers: str) -> dict[str, Any]:
    options = " ".join(f"--header '{h}'" for h in headers)
    found: dict[str, Any] = json.loads(guest.run(f"timeout 20 wget -q -O - {options} {METADATA}"))
    return found


def test_servers_with_the_same_address_each_read_their_own_metadata(one: Guest, stranger: Guest) -> None:
    assert one.port().fixed_ips[0]["ip_address"] == stranger.port().fixed_ips[0]["ip_address"]
    for guest in (one, stranger):
        found = metadata(guest)
        assert (found["uuid"], found["project_id"]) == (guest.id, guest.server.project_id)


def test_headers_that_name_another_server_change_nothing(one: Guest, two: Guest, stranger: Guest) -> None:
    project = one.server.project_id
    lies = [f"X-Instance-ID: {one.id}", f"X-Tenant-ID: {project}", f"X-Project-ID: {project}", "X-Forwarded-For: 10.50.0.10",
            f"X-OVN-Network-ID: {one.port().network_id}", f"X-Neutron-Network-ID: {one.port().network_id}"]  # fmt: skip
    for guest in (two, stranger):
        assert metadata(guest, *lies)["uuid"] == guest.id


def test_networks_with_the_same_range_never_meet(one: Guest, two: Guest, stranger: Guest) -> None:
    assert one.works("ping -c 2 -W 2 10.50.0.11"), "its own neighbour"
    assert not stranger.works("ping -c 2 -W 2 10.50.0.11"), "the other tenant's server"
    assert not stranger.works("arping -c 2 -w 3 -I eth0 10.50.0.11")
    two.run("ip neigh flush dev eth0")
    assert two.run("ping -c 1 -W 2 10.50.0.10 >/dev/null; ip neigh show 10.50.0.10 | cut -d' ' -f5") == one.port().mac_address




def test_a_forged_ip_is_dropped(one: Guest, two: Guest) -> None:
    """`two` takes another address; nothing that it sends with it arrives."""
    assert two.works("ping -c 1 -W 2 10.50.0.10")
    two.run("ip addr add 10.50.0.99/24 dev eth0")
    try:
        before = icmp_in(one)
        assert not two.works("ping -c 3 -W 1 -I 10.50.0.99 10.50.0.10")
        assert icmp_in(one) == before, "a forged packet arrived"
        two.conn.network.update_port(two.port(), allowed_address_pairs=[{"ip_address": "10.50.0.99"}])
        until(lambda: two.works("ping -c 1 -W 1 -I 10.50.0.99 10.50.0.10"), "an allowed pair lets the same packet through", 10)
    finally:
        two.run("ip addr del 10.50.0.99/24 dev eth0")
        two.conn.network.update_port(two.port(), allowed_address_pairs=[])
    assert two.works("ping -c 1 -W 2 10.50.0.10")


def test_a_forged_arp_answer_is_dropped(one: Guest, two: Guest) -> None:
    """`two` says that the router's address is its own; `one` does not believe it."""
    one.run("ping -c 1 -W 2 10.50.0.1")
    real = one.run("ip neigh show 10.50.0.1 | cut -d' ' -f5")
    two.run("ip addr add 10.50.0.1/32 dev eth0")
    try:
        said = two.run("arping -c 3 -w 4 -U -I eth0 -s 10.50.0.1 10.50.0.10 || true")
        assert "Sent 3 probe" in said, said
        assert one.run("ip neigh show 10.50.0.1 | cut -d' ' -f5") == real
    finally:
        two.run("ip addr del 10.50.0.1/32 dev eth0")


def test_a_forged_mac_is_dropped(one: Guest, two: Guest) -> None:
    """While the card lies about its MAC, nothing arrives; the guest sets it back by itself, as it cannot be reached meanwhile."""
    mac = two.port().mac_address
    before = icmp_in(one)
    two.run(
        "cat > /tmp/lie <<'END'\n"
        "ip link set eth0 down; ip link set eth0 address 02:00:00:00:66:66; ip link set eth0 up\n"
        f"ip route replace default via 10.50.0.1; arp -s 10.50.0.10 {one.port().mac_address}\n"
        "ping -c 3 -W 1 10.50.0.10 > /tmp/lie.out 2>&1; echo $? > /tmp/lie.code\n"
        f"arp -d 10.50.0.10; ip link set eth0 down; ip link set eth0 address {mac}; ip link set eth0 up\n"
        "kill -USR1 $(cat /run/udhcpc.eth0.pid); sleep 1; ip route replace default via 10.50.0.1; touch /tmp/lie.done\n"
        "END\n"
        "(sh /tmp/lie >/tmp/lie.log 2>&1 </dev/null &)"
    )
    two.wait()
    two.run("while [ ! -e /tmp/lie.done ]; do usleep 100000; done")
    assert two.run("cat /tmp/lie.code") != "0", two.run("cat /tmp/lie.out")
    assert "transmitted" in two.run("cat /tmp/lie.out")
    assert icmp_in(one) == before, "a forged frame arrived"
    assert two.works("ping -c 1 -W 2 10.50.0.10")


def icmp_in(guest: Guest) -> int:
    """Echo requests that the guest's kernel has received."""
    names, values = guest.run("grep ^Icmp: /proc/net/snmp").splitlines()
    return int(dict(zip(names.split(), values.split(), strict=True))["InEchos"])
