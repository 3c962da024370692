"""Packets through a real OVN: forwarded ports, and what QoS policies do to traffic."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from msgspec import structs
from tests.network import cases, lab
from tests.network.cases import FIP, GROUP, ONE, ROUTER, TWO, rule
from tests.network.test_ovn_data_plane import Cloud

from moln.network.model.address_groups import AddressGroup
from moln.network.model.logs import NetworkLog

pytestmark = [pytest.mark.engines, pytest.mark.skipif(not lab.available(), reason="needs root and OVN")]

SERVE = (
    "import socket,sys;s=socket.create_server(('0.0.0.0',int(sys.argv[1])));s.settimeout(30);print('ready',flush=True);"
    "c,_=s.accept();c.sendall(sys.argv[2].encode());c.recv(1);c.close()"
)
ASK = "import socket,sys;c=socket.create_connection((sys.argv[1],int(sys.argv[2])),timeout=5);print(c.recv(99).decode());c.close()"
COUNT = (
    "import socket,sys,time;s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.bind(('0.0.0.0',7000));"
    "s.setsockopt(socket.IPPROTO_IP,socket.IP_RECVTOS,1);s.setsockopt(socket.SOL_SOCKET,socket.SO_RCVBUF,1<<22);print('ready',flush=True);"
    "s.settimeout(10);n,tos=0,0;end=None\n"
    "while end is None or time.monotonic()<end:\n"
    " try: data,extra,_,_=s.recvmsg(2000,100)\n"
    " except TimeoutError: break\n"
    " end=end or time.monotonic()+2.0;s.settimeout(1.0);n+=1;tos=extra[0][2][0] if extra else 0\n"
    "print(n,tos)"
)
FLOOD = (
    "import socket,sys,time;s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);end=time.monotonic()+2.0\n"
    "while time.monotonic()<end:\n s.sendto(bytes(1000),(sys.argv[1],7000));time.sleep(0.001)\n"
)
TAGGED_PING = """
import socket, struct, sys
vlan, mac, to, src, dst = int(sys.argv[1]), *(bytes.fromhex(a.replace(":", "")) for a in sys.argv[2:4]), *map(socket.inet_aton, sys.argv[4:6])
def total(data):
    n = sum(struct.unpack(f"!{len(data) // 2}H", data))
    n = (n >> 16) + (n & 0xFFFF)
    return ~(n + (n >> 16)) & 0xFFFF
icmp = struct.pack("!BBHHH", 8, 0, 0, 77, 1) + b"moln" * 4
icmp = icmp[:2] + struct.pack("!H", total(icmp)) + icmp[4:]
ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(icmp), 1, 0, 64, 1, 0, src, dst)
ip = ip[:10] + struct.pack("!H", total(ip)) + ip[12:]
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind(("eth0", 3))
s.setsockopt(263, 8, 1)
s.settimeout(1)
for _ in range(10):
    s.send(to + mac + struct.pack("!HHH", 0x8100, vlan, 0x0800) + ip + icmp)
    try:
        while True:
            data, extra, _, _ = s.recvmsg(2000, 100)
            tci = struct.unpack("=IIIHHHH", extra[0][2])[5] if extra else 0
            if data[:6] == mac and data[26:30] == dst and data[34] == 0:
                print("answered in", tci & 4095)
                sys.exit()
    except TimeoutError:
        pass
print("silent")
"""


RARP = """
import socket, struct, sys
mac = bytes.fromhex(sys.argv[1].replace(":", ""))
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
s.send(b"\\xff" * 6 + mac + struct.pack("!HHHBBH", 0x8035, 1, 0x0800, 6, 4, 3) + mac + bytes(4) + mac + bytes(4) + bytes(18))
"""


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    made = Cloud()
    opened = [rule(50, protocol="tcp"), rule(51, protocol="udp"), rule(52, protocol="icmp")]
    made.apply(structs.replace(made.topology, rules={**made.topology.rules, **{r.id: r for r in opened}}), ("group", GROUP))
    for guest in (made.one, made.two):
        made.lab.inside(guest, "ip", "route", "replace", "default", "via", "10.1.0.1")
    made.lab.inside(made.lab.world, "ip", "route", "replace", "blackhole", "10.1.0.0/24", "metric", "5000")
    yield made
    made.close()


def python(guest: str, code: str, *arguments: str) -> subprocess.Popen[str]:
    command = ["ip", "netns", "exec", guest, "/usr/bin/python3", "-c", code, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def serve(guest: str, code: str, *arguments: str) -> subprocess.Popen[str]:
    """Started, and listening."""
    server = python(guest, code, *arguments)
    assert server.stdout is not None and server.stdout.readline().strip() == "ready"
    return server


def test_ports_of_a_floating_address_lead_to_guests(cloud: Cloud) -> None:
    before = cloud.topology
    loose = structs.replace(before.floating_ips[FIP], port_id=None, fixed_ip_address=None)
    lists = [
        cases.forwarding(1),
        cases.forwarding(2, external_first=8000, external_last=8001, internal_port_id=TWO, internal_ip_address="10.1.0.12",
                         internal_first=80, internal_last=81),
    ]  # fmt: skip
    changed = structs.replace(before, floating_ips={FIP: loose}, forwardings={f.id: f for f in lists})
    cloud.apply(changed, ("router", ROUTER))
    for guest, inner, outer in ((cloud.one, "22", "2201"), (cloud.two, "81", "8001")):
        server = serve(guest, SERVE, inner, f"here {inner}")
        asked = python(cloud.lab.world, ASK, "203.0.113.101", outer)
        assert asked.communicate(timeout=20)[0].strip() == f"here {inner}"
        server.wait(20)
    asked = python(cloud.lab.world, ASK, "203.0.113.101", "2299")
    assert "here" not in asked.communicate(timeout=20)[0], "what is not forwarded leads nowhere"
    cloud.apply(before, ("router", ROUTER))


def flood(cloud: Cloud, sender: str, receiver: str, address: str) -> tuple[int, int]:
    """Datagrams of 1000 bytes that arrived in two seconds, and their last TOS."""
    counting = serve(receiver, COUNT)
    python(sender, FLOOD, address).wait(30)
    out = counting.communicate(timeout=30)[0].split()
    return int(out[0]), int(out[1])


def test_a_ports_traffic_is_bounded_and_marked(cloud: Cloud) -> None:
    before = cloud.topology
    free, mark = flood(cloud, cloud.one, cloud.two, "10.1.0.12")
    assert free > 700 and mark == 0
    bounded = cases.with_qos(before)
    slow = tuple(structs.replace(r, max_kbps=400, max_burst_kbps=40) if r.max_kbps else r for r in bounded.qos[cases.QOS])
    ports = {**before.ports, ONE: structs.replace(before.ports[ONE], qos_policy_id=cases.QOS)}
    cloud.apply(structs.replace(before, ports=ports, qos={cases.QOS: slow}), ("port", ONE))
    limited, mark = flood(cloud, cloud.one, cloud.two, "10.1.0.12")
    assert limited < 250 and mark == 10 << 2, "400 kbit/s are 50 such datagrams a second; DSCP 10"
    limited, _ = flood(cloud, cloud.two, cloud.one, "10.1.0.11")
    assert limited < 250, "what comes in is bounded too"
    cloud.apply(before, ("port", ONE))
    assert flood(cloud, cloud.one, cloud.two, "10.1.0.12")[0] > 700


def test_a_floating_addresss_traffic_is_bounded(cloud: Cloud) -> None:
    before = cloud.topology
    bounded = cases.with_qos(before)
    slow = tuple(structs.replace(r, max_kbps=400, max_burst_kbps=40) for r in bounded.qos[cases.QOS] if r.max_kbps)
    limited = structs.replace(before, floating_ips=bounded.floating_ips, qos={cases.QOS: slow})
    assert cloud.lab.reaches(cloud.one, "203.0.113.1")
    assert flood(cloud, cloud.one, cloud.lab.world, "203.0.113.1")[0] > 700
    cloud.apply(limited, ("router", ROUTER))
    assert flood(cloud, cloud.one, cloud.lab.world, "203.0.113.1")[0] < 250
    assert flood(cloud, cloud.lab.world, cloud.one, "203.0.113.101")[0] < 250
    cloud.apply(before, ("router", ROUTER))


def test_a_trunk_carries_a_second_network_in_a_vlan(cloud: Cloud) -> None:
    before, run = cloud.topology, cloud.lab.inside
    changed = cases.with_trunk(before, host=cloud.lab.nodes[1])
    cloud.apply(changed, ("network", cases.SECOND), ("subnet", cases.SECOND_V4), ("port", cases.SUB), ("port", cases.THREE))
    three = cloud.lab.guest(cloud.lab.nodes[1], "three", cases.THREE, changed.ports[cases.THREE].mac_address)
    run(three, "ip", "addr", "add", "10.2.0.12/24", "dev", "eth0")
    cloud.lab.sync()
    macs = [changed.ports[id].mac_address for id in (cases.SUB, cases.THREE)]

    def ping(vlan: int) -> str:
        return run(cloud.one, "/usr/bin/python3", "-c", TAGGED_PING, str(vlan), *macs, "10.2.0.11", "10.2.0.12").strip()

    assert ping(101) == "answered in 101"
    assert cases.SUB in cloud.loop.run_until_complete(cloud.driver.ups())
    assert ping(102) == "silent", "another tag leads nowhere"
    cloud.apply(structs.replace(changed, subports={}), ("port", cases.SUB))
    assert ping(101) == "silent"
    cloud.apply(before, ("port", cases.SUB), ("port", cases.THREE), ("subnet", cases.SECOND_V4), ("network", cases.SECOND))


def test_a_rule_for_an_address_group_follows_the_group(cloud: Cloud) -> None:
    before = cloud.topology
    only = rule(60, protocol="icmp", remote_address_group_id=cases.ADDRESSES)
    closed = {k: r for k, r in before.rules.items() if r.protocol != "icmp" and r.remote_group_id is None}
    group = AddressGroup(id=cases.ADDRESSES, project_id="p", addresses=("10.1.0.99/32",))
    changed = structs.replace(before, rules={**closed, only.id: only}, address_groups={group.id: group})
    cloud.apply(changed, ("addresses", group.id), ("group", GROUP))
    assert not cloud.lab.pings(cloud.one, "10.1.0.12")
    more = structs.replace(group, addresses=("10.1.0.99/32", "10.1.0.0/27"))
    cloud.apply(structs.replace(changed, address_groups={group.id: more}), ("addresses", group.id))
    assert cloud.lab.reaches(cloud.one, "10.1.0.12")
    cloud.apply(before, ("group", GROUP), ("addresses", group.id))


def test_a_second_gateway_reaches_its_own_network_and_carries_what_the_first_cannot(cloud: Cloud) -> None:
    before, run = cloud.topology, cloud.lab.inside
    world = cloud.lab.tagged(cloud.lab.nodes[0], "far", 77)
    run(world, "ip", "addr", "add", "198.18.0.1/24", "dev", "eth0")
    run(world, "ip", "addr", "add", "198.18.9.9/32", "dev", "lo")
    changed = cases.with_gateways(before)
    places = (("network", cases.SECOND), ("subnet", cases.SECOND_V4), ("port", cases.GATE2), ("router", ROUTER))
    cloud.apply(changed, *places)
    assert cloud.lab.reaches(cloud.two, "198.18.0.1"), "translated to the second gateway's own address"
    assert cloud.lab.reaches(cloud.two, "203.0.113.1"), "and the first still carries its own"
    only = structs.replace(changed.subnets[cases.OUTER_V4], gateway_ip=None)  # the first network leads no further
    lone = cases.with_gateways(structs.replace(before, subnets={**before.subnets, cases.OUTER_V4: only}), enable_default_route_ecmp=True)
    cloud.apply(lone, ("subnet", cases.OUTER_V4), ("router", ROUTER))
    assert cloud.lab.reaches(cloud.two, "198.18.9.9")
    cloud.apply(before, *places, ("subnet", cases.OUTER_V4))
    assert cloud.lab.reaches(cloud.two, "203.0.113.1")


def test_what_is_accepted_and_dropped_is_in_the_nodes_log(cloud: Cloud) -> None:
    before = cloud.topology
    log = NetworkLog(id="77777777-0000-4000-8000-000000000001", project_id="p")
    files = [cloud.lab.dir / f"{node}-oc.log" for node in cloud.lab.nodes]

    def lines() -> list[str]:
        return [line for file in files for line in file.read_text().splitlines() if "acl_log" in line]

    cloud.apply(structs.replace(before, logs=(log,)), ("group", GROUP), ("group", "drop"))
    assert cloud.lab.reaches(cloud.one, "10.1.0.12")
    accepted = [line for line in lines() if "verdict=allow" in line and "nw_src=10.1.0.11" in line]
    assert accepted and all(f'name="neutron-{log.id}"' in line for line in accepted)
    silent = structs.replace(before, logs=(structs.replace(log, enabled=False),))
    cloud.apply(silent, ("group", GROUP), ("group", "drop"))
    count = len(lines())
    assert cloud.lab.reaches(cloud.one, "10.1.0.12") and len(lines()) == count
    cloud.apply(before, ("group", GROUP), ("group", "drop"))


def test_a_port_that_waits_speaks_where_its_guest_does(cloud: Cloud) -> None:
    before, run = cloud.topology, cloud.lab.inside
    first, second = cloud.lab.nodes
    moving = structs.replace(before, waiting={ONE: (second,)})
    cloud.apply(moving, ("port", ONE))
    twin = cloud.lab.guest(second, "twin", ONE, before.ports[ONE].mac_address)
    run(twin, "ip", "addr", "add", "10.1.0.11/24", "dev", "eth0")
    cloud.lab.sync()
    assert cloud.lab.reaches(cloud.one, "10.1.0.12"), "the guest is where it was"
    assert not cloud.lab.pings(twin, "10.1.0.12"), "the other place keeps silent"
    run(cloud.one, "ip", "link", "set", "eth0", "down")
    python(twin, RARP, before.ports[ONE].mac_address).wait(20)
    assert cloud.lab.reaches(twin, "10.1.0.12"), "as a hypervisor says when a guest has arrived"
    moved = structs.replace(before, ports={**before.ports, ONE: structs.replace(before.ports[ONE], host_id=second)})
    cloud.apply(moved, ("port", ONE))
    assert cloud.lab.reaches(twin, "10.1.0.12")
