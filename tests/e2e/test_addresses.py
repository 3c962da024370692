"""Floating addresses, the way out, and cards that come and go."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator

from tests.e2e.guests import Guest
from tests.e2e.waiting import until
from tests.e2e.world import Tenant, World

SAYS_WHO = """
import socketserver
class Say(socketserver.BaseRequestHandler):
    def handle(self): self.request.sendall(self.client_address[0].encode())
socketserver.ThreadingTCPServer.allow_reuse_address = True
server = socketserver.ThreadingTCPServer(("{address}", 7000), Say)
print("ready", flush=True)
server.serve_forever()
"""


@contextlib.contextmanager
def outside(address: str) -> Iterator[None]:
    """A server on the provider network that tells each client the address it came from."""
    with subprocess.Popen([sys.executable, "-c", SAYS_WHO.format(address=address)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout and process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.kill()


def test_a_server_goes_out_by_its_router_or_by_its_own_floating_address(world: World, north: Tenant, one: Guest, two: Guest) -> None:
    """And a floating address that moves takes ssh with it."""
    network = north.conn.network
    gateway = network.find_router("home").external_gateway_info["external_fixed_ips"][0]["ip_address"]
    host = world.admin.network.find_subnet("public").gateway_ip
    ask = f"nc -w 5 {host} 7000 </dev/null"
    floating = network.find_ip(two.address, ignore_missing=False)
    with outside(host):
        assert two.run(ask) == two.address
        network.update_ip(floating, port_id=None)
        inner = Guest(two.conn, two.id, "10.50.0.11", two.key, jump=one)
        until(lambda: inner.run(ask) == gateway, "it goes out by the router", 20)
    assert not two.answers()


def test_a_floating_address_moves_to_another_server(north: Tenant, one: Guest, two: Guest) -> None:
    network = north.conn.network
    floating = network.find_ip(two.address, ignore_missing=False)
    mine = network.find_ip(one.address, ignore_missing=False)
    network.update_ip(mine, port_id=None)
    network.update_ip(floating, port_id=one.port().id)
    moved = Guest(one.conn, one.id, two.address, one.key)
    until(moved.answers, "one answers at its new address", 30)
    assert moved.run("hostname") == "one"
    network.update_ip(floating, port_id=two.port().id)
    network.update_ip(mine, port_id=one.port().id)
    until(lambda: one.answers() and one.run("hostname") == "one" and two.run("hostname") == "two", "both are themselves again", 30)


def test_a_card_is_plugged_into_a_running_server_and_out_again(world: World, north: Tenant, two: Guest) -> None:
    network = north.conn.network.create_network(name="side")
    north.conn.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.60.0.0/24", gateway_ip=None)
    compute = north.conn.compute
    card = compute.create_server_interface(two.id, net_id=network.id)
    address = card.fixed_ips[0]["ip_address"]
    until(lambda: f"{address}/24" in two.run("ip -4 addr"), "the guest has the card's address", 60)
    until(lambda: north.conn.network.get_port(card.port_id).status == "ACTIVE", "the port is up", 20)
    assert two.server.addresses["side"][0]["addr"] == address
    compute.delete_server_interface(card.port_id, two.id)
    until(lambda: north.conn.network.find_port(card.port_id) is None, "the port is gone", 40)
    assert address not in two.run("ip -4 addr")
    assert f"tap{card.port_id[:11]}" not in links()
    north.conn.network.delete_network(network.id)


def links() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


