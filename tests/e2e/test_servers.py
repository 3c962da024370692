"""Real guests through the public APIs. One story after the other on the same two guests: booting is what takes the time."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator

import pytest
from tests.e2e.cloud import Guest, RealCloud, Tenant, eventually

CIDR = "10.30.0.0/24"
SERVE = "while true; do echo answer | nc -l -p 8080; done"


@pytest.fixture(scope="module")
def tenants(cloud: RealCloud) -> Iterator[tuple[Tenant, Tenant]]:
    made = Tenant(cloud, "one", CIDR), Tenant(cloud, "two", CIDR)
    yield made
    for tenant in made:
        tenant.delete()
    eventually(lambda: not any(cloud.leftovers().values()), 30, what="nothing left on the host")
    assert cloud.leftovers() == {kind: [] for kind in cloud.leftovers()}
    assert cloud.doctor() == []


@pytest.fixture(scope="module")
def guest(tenants: tuple[Tenant, Tenant]) -> Guest:
    return tenants[0].boot("first", address="10.30.0.10", script="echo nonce-of-first > /run/nonce")


@pytest.fixture(scope="module")
def stranger(tenants: tuple[Tenant, Tenant], guest: Guest) -> Iterator[Guest]:
    """A guest of the other tenant, in a network with the same addresses."""
    guest.boot_id()  # one boots at a time
    made = tenants[1].boot("stranger", address="10.30.0.20", script="echo nonce-of-stranger > /run/nonce")
    yield made
    tenants[1].os.compute.delete_server(made.id)


def test_metadata_gives_each_guest_its_own_name_key_and_user_data(guest: Guest, stranger: Guest) -> None:
    assert guest.ssh("hostname; cat /run/nonce").split() == ["first", "nonce-of-first"]
    assert stranger.ssh("hostname; cat /run/nonce").split() == ["stranger", "nonce-of-stranger"]
    forged = r"printf 'GET /openstack/latest/meta_data.json HTTP/1.0\r\nX-Instance-ID: %s\r\nX-Forwarded-For: %s\r\n\r\n'"
    told = stranger.ssh(f"{forged % (guest.id, guest.address)} | nc -w 5 169.254.169.254 80")
    assert stranger.id in told
    assert guest.id not in told


def test_two_tenants_with_the_same_addresses_never_meet(guest: Guest, stranger: Guest) -> None:
    assert "0 packets received" in stranger.root(f"ping -c 3 -W 1 {guest.address} || true")
    assert "3 packets received" in stranger.root("ping -c 3 -W 1 10.30.0.1")


def test_forged_addresses_are_dropped(stranger: Guest) -> None:
    script = (
        "ping -c 2 -W 1 10.30.0.1 > /tmp/honest; ip addr add 10.30.0.77/32 dev eth0;"
        " ping -c 2 -W 1 -I 10.30.0.77 10.30.0.1 > /tmp/forged-ip; ip addr del 10.30.0.77/32 dev eth0;"
        " old=$(cat /sys/class/net/eth0/address); ip link set eth0 address fa:16:3e:77:77:77; ping -c 2 -W 1 10.30.0.1 > /tmp/forged-mac;"
        " ip link set eth0 address $old; touch /tmp/done"
    )
    stranger.leave_running(script, user="root")
    stranger.root("for i in $(seq 60); do [ -e /tmp/done ] && break; sleep 1; done")
    assert "2 packets received" in stranger.root("cat /tmp/honest")
    assert "0 packets received" in stranger.root("cat /tmp/forged-ip")
    assert "0 packets received" in stranger.root("cat /tmp/forged-mac")


def test_a_rule_opens_and_closes_a_port_within_a_second(guest: Guest) -> None:
    network, group = guest.tenant.os.network, guest.tenant.group
    guest.leave_running(SERVE)
    assert not open_port(guest.floating, 8080)
    rule = network.create_security_group_rule(
        security_group_id=group.id, direction="ingress", protocol="tcp", port_range_min=8080, port_range_max=8080
    )
    began = time.monotonic()
    eventually(lambda: open_port(guest.floating, 8080, 0.1), 5, every_s=0.02)
    opened_s = time.monotonic() - began
    network.delete_security_group_rule(rule)
    began = time.monotonic()
    eventually(lambda: not open_port(guest.floating, 8080, 0.1), 5, every_s=0.02)
    assert (opened_s < 1.0, time.monotonic() - began < 1.2) == (True, True), f"opened after {opened_s:.2f} s"


def open_port(address: str, port: int, timeout_s: float = 1.0) -> bool:
    try:
        socket.create_connection((address, port), timeout_s).close()
    except OSError:
        return False
    return True


def test_a_soft_and_a_hard_reboot_start_the_same_guest_again(guest: Guest) -> None:
    for kind in ("SOFT", "HARD"):
        before = guest.boot_id()
        guest.tenant.os.compute.reboot_server(guest.id, kind)
        eventually(lambda: guest.status() != "ACTIVE" or guest.boot_id() != before, 60)  # noqa: B023
        guest.wait_for("ACTIVE")
        assert guest.boot_id() != before
    assert "READY" in guest.console()


def test_stop_and_start(guest: Guest) -> None:
    guest.tenant.os.compute.stop_server(guest.id)
    guest.wait_for("SHUTOFF")
    guest.tenant.os.compute.start_server(guest.id)
    guest.wait_for("ACTIVE")
    assert guest.ssh("hostname").strip() == "first"


def test_a_guest_that_shuts_itself_down_or_is_killed_is_shutoff_in_seconds(guest: Guest) -> None:
    guest.leave_running("sync; sleep 1; poweroff", user="root")
    guest.wait_for("SHUTOFF", 30)
    guest.tenant.os.compute.start_server(guest.id)
    guest.wait_for("ACTIVE")
    guest.boot_id()
    os.kill(guest.tenant.cloud.qemu_of(guest.id), signal.SIGKILL)
    guest.wait_for("SHUTOFF", 15)
    guest.tenant.os.compute.start_server(guest.id)
    guest.wait_for("ACTIVE")
    guest.boot_id()


def test_a_volume_and_a_snapshot_carry_what_a_guest_wrote_to_another(guest: Guest, stranger: Guest) -> None:
    tenant = guest.tenant
    stranger.tenant.os.compute.delete_server(stranger.id)
    compute, volumes = tenant.os.compute, tenant.os.block_storage
    volume = volumes.create_volume(name="moved", size=1)
    volumes.wait_for_status(volume, "available", wait=60, interval=0.3)
    attach(guest, volume.id)
    guest.root("for i in $(seq 20); do [ -b /dev/vdb ] && break; sleep 0.5; done; echo moved-by-volume | dd of=/dev/vdb; sync")
    guest.root("echo kept-by-snapshot > /root/marker; sync")
    image = compute.create_server_image(guest.id, "of-first", wait=True, timeout=120)
    detach(guest, volume.id)

    guest.tenant.os.compute.stop_server(guest.id)  # two guests at once are slow
    other = tenant.boot("second", image=image.id)
    assert other.root("cat /root/marker").strip() == "kept-by-snapshot"
    assert other.ssh("hostname").strip() == "second"
    attach(other, volume.id)
    read = "for i in $(seq 20); do [ -b /dev/vdb ] && break; sleep 0.5; done; head -n 1 /dev/vdb"
    assert other.root(read).strip() == "moved-by-volume"
    detach(other, volume.id)


def attach(guest: Guest, volume_id: str) -> None:
    guest.tenant.os.compute.create_volume_attachment(guest.id, volume_id=volume_id)
    volumes = guest.tenant.os.block_storage
    eventually(lambda: volumes.get_volume(volume_id).status == "in-use", 60)


def detach(guest: Guest, volume_id: str) -> None:
    guest.tenant.os.compute.delete_volume_attachment(guest.id, volume_id)
    volumes = guest.tenant.os.block_storage
    eventually(lambda: volumes.get_volume(volume_id).status == "available", 60)
