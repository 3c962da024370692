"""OVN over several machines: databases with TLS, tunnels between them, addresses where the guests are, a gateway that moves."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest
from msgspec import structs
from tests.network import machines
from tests.network.cases import FIP, META, ONE, OUTER, ROUTER, TWO, rule, small_cloud

from moln.network.drivers.base import ChassisChanged, EngineSettings, Event
from moln.network.drivers.ovn import OvnDriver
from moln.network.model.topology import Chassis, Desired, Topology, gateway_candidates

pytestmark = [pytest.mark.engines, pytest.mark.skipif(not machines.available(), reason="needs root and OVN")]
MAC_OF_GATE = "fa:16:3e:00:00:06"


class Cloud:
    """Three machines, a driver on the first one's databases, a guest on each of two.

    Three, because OVN lets no chassis take over a gateway that has lost all others: it may be the one that is cut off.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.lab = machines.Machines(3)
        try:
            self._set_up()
        except BaseException:
            self.close()
            raise

    def _set_up(self) -> None:
        one, two, _ = self.lab.machines
        self.driver = OvnDriver(f"unix:{one.places.nb_socket}", f"unix:{one.places.sb_socket}", EngineSettings())
        topology = small_cloud(host_one=one.name, host_two=two.name)
        outer = structs.replace(topology.networks[OUTER], physical_network="public")
        icmp = rule(7, protocol="icmp")
        topology = structs.replace(topology, networks={**topology.networks, OUTER: outer}, rules={**topology.rules, icmp.id: icmp})
        self.loop.run_until_complete(self.driver.start(1))
        self.sync()
        self.topology = preferring(topology, two.name, self.loop.run_until_complete(self.driver.chassis()))
        self.loop.run_until_complete(self.driver.apply(Desired(topology=self.topology, complete=True)))
        self.one, self.two = (
            self.lab.guest(at, f"g{n}", port, self.topology.ports[port].mac_address, f"10.1.0.1{n}/24")
            for n, (at, port) in enumerate(((one, ONE), (two, TWO)), 1)
        )
        for guest in (self.one, self.two):
            self.lab.inside(guest, "ip", "route", "add", "default", "via", "10.1.0.1")
        self.sync()

    def sync(self) -> None:
        self.lab.machines[0].tool("ovn-nbctl", "--wait=hv", "sync")

    def close(self) -> None:
        if hasattr(self, "driver"):
            self.loop.run_until_complete(self.driver.stop())
        self.loop.close()
        self.lab.close()


def preferring(topology: Topology, name: str, chassis: list[Chassis]) -> Topology:
    """The same with another router, whose gateway this chassis is the first to carry."""
    ids = (ROUTER[:-3] + f"{n:03d}" for n in range(1000))
    id = next(id for id in ids if gateway_candidates(id, "public", chassis)[0] == name)
    ports = {p.id: structs.replace(p, device_id=id) if p.device_id == ROUTER else p for p in topology.ports.values()}
    fips = {f.id: structs.replace(f, router_id=id) for f in topology.floating_ips.values()}
    return structs.replace(topology, routers={id: structs.replace(topology.routers[ROUTER], id=id)}, ports=ports, floating_ips=fips)


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    made = Cloud()
    yield made
    made.close()


def test_all_machines_are_chassis_at_their_addresses(cloud: Cloud) -> None:
    found = cloud.loop.run_until_complete(cloud.driver.chassis())
    assert [(c.name, c.hostname, c.tunnel_ips, c.physical_networks) for c in found] == [
        (name, name, (f"192.0.2.{n}",), ("public",)) for name, n in (("one", 1), ("three", 3), ("two", 2))]  # fmt: skip


def test_every_machine_answers_when_it_is_asked(cloud: Cloud) -> None:
    told: list[Event] = []
    stop = cloud.driver.listen(told.append)

    def seen() -> dict[str, int]:
        return {c.name: c.seen_at for c in cloud.loop.run_until_complete(cloud.driver.chassis())}

    before = seen()
    cloud.loop.run_until_complete(cloud.driver.ask_chassis())
    assert cloud.lab.until(lambda: all(at > before[name] for name, at in seen().items())), seen()
    stop()
    assert not [event for event in told if isinstance(event, ChassisChanged)], "an answer is no reason to look at everything again"


def test_guests_on_two_machines_reach_each_other_through_the_tunnel(cloud: Cloud) -> None:
    assert cloud.lab.reaches(cloud.one, "10.1.0.12")
    assert cloud.lab.reaches(cloud.two, "10.1.0.11", "-s", "1414", "-M", "do"), "as much as the networks' MTU says"
    ups = cloud.loop.run_until_complete(cloud.driver.ups())
    assert ups == {ONE: "one", TWO: "two"}


def test_a_floating_address_is_answered_where_its_guest_is(cloud: Cloud) -> None:
    assert cloud.lab.reaches(cloud.lab.world, "203.0.113.101")
    assert cloud.lab.learned(cloud.lab.world, "203.0.113.101") == "fa:16:3e:00:00:07"
    assert cloud.lab.cable_of("fa:16:3e:00:00:07") == "p1"


def test_each_machine_serves_its_own_guests_metadata(cloud: Cloud) -> None:
    """A localport is on every machine that is asked to have it."""
    mac = cloud.topology.ports[META].mac_address
    for n, (at, guest) in enumerate(zip(cloud.lab.machines[:2], (cloud.one, cloud.two), strict=True), 1):
        meta = cloud.lab.guest(at, f"meta{n}", META, mac, "10.1.0.2/24")
        cloud.lab.inside(meta, "ip", "addr", "add", f"198.18.0.{n}/32", "dev", "lo")
        cloud.lab.inside(meta, "ip", "addr", "add", "169.254.169.254/32", "dev", "eth0")
        cloud.lab.inside(guest, "ip", "route", "replace", "169.254.169.254/32", "via", "10.1.0.2")
        cloud.lab.inside(guest, "ip", "route", "replace", f"198.18.0.{n}/32", "via", "10.1.0.2")
    cloud.sync()
    for n, guest in enumerate((cloud.one, cloud.two), 1):
        assert cloud.lab.reaches(guest, "169.254.169.254")
        assert cloud.lab.reaches(guest, f"198.18.0.{n}"), "what only its own machine's metadata has"


def test_a_chassis_writes_its_own_rows_and_no_others(cloud: Cloud) -> None:
    """What a node's certificate allows: nothing of another chassis', and nothing at all of whoever has none."""
    one, two, _ = cloud.lab.machines
    assert two.machine.tls is not None
    proof = [f"--private-key={two.machine.tls.key}", f"--certificate={two.machine.tls.certificate}", f"--ca-cert={two.machine.tls.ca}"]
    remote = "--db=ssl:192.0.2.1:6642"
    two.tool("ovn-sbctl", *proof, remote, "set", "chassis", "two", "external_ids:mine=yes")
    two.tool("ovn-sbctl", *proof, remote, "set", "chassis", "one", "external_ids:mine=yes", check=False)
    two.tool("ovn-sbctl", *proof, remote, "destroy", "chassis", "one", check=False)
    assert "mine" in one.tool("ovn-sbctl", "get", "chassis", "two", "external_ids")
    assert "mine" not in one.tool("ovn-sbctl", "get", "chassis", "one", "external_ids")
    folder = cloud.lab.home / "strange"
    folder.mkdir()
    strange = machines.authority(folder, ["two"])["two"]
    told = two.tool("ovn-sbctl", "--private-key=" + strange.key, "--certificate=" + strange.certificate, f"--ca-cert={two.machine.tls.ca}",
                    remote, "--timeout=3", "list", "chassis", check=False)  # fmt: skip
    assert told == ""


def test_a_switch_that_was_killed_comes_back_with_its_tunnels(cloud: Cloud) -> None:
    two = cloud.lab.machines[1]
    before = two.pid("ovs-vswitchd")
    assert before > 1
    os.kill(before, signal.SIGKILL)
    assert cloud.lab.until(lambda: two.pid("ovs-vswitchd") not in (0, before))
    assert cloud.lab.reaches(cloud.one, "10.1.0.12")


def without_floating_address(cloud: Cloud) -> None:
    """So that the first guest leaves by the gateway."""
    fip = structs.replace(cloud.topology.floating_ips[FIP], port_id=None, fixed_ip_address=None, router_id=None)
    loose = structs.replace(cloud.topology, floating_ips={FIP: fip})
    cloud.loop.run_until_complete(cloud.driver.apply(Desired(topology=loose, complete=True)))
    cloud.sync()


def test_the_gateway_moves_to_the_other_machine_and_back(cloud: Cloud) -> None:
    without_floating_address(cloud)
    one = cloud.lab.machines[0]
    rows = one.tool("ovn-nbctl", "--format=csv", "--no-headings", "--columns=chassis_name,priority", "list", "gateway_chassis").split()
    assert {row for row in rows if "two" in row} == {"two,3"} and len(rows) == 3
    assert leaves_by(cloud, "p2"), "the first gateway's cable"
    cloud.lab.cut(2, "down")
    assert leaves_by(cloud, "p1", "p3"), "BFD over the tunnels tells"
    cloud.lab.cut(2, "up")
    assert leaves_by(cloud, "p2"), "and back"


def test_the_gateway_moves_when_its_machine_is_stopped(cloud: Cloud) -> None:
    two = cloud.lab.machines[1]
    two.engines("down")
    assert leaves_by(cloud, "p1", "p3")
    two.engines("up")
    assert leaves_by(cloud, "p2")


def leaves_by(cloud: Cloud, *cables: str) -> bool:
    """Whether what the first guest sends comes to the provider network by one of these, in the end, and is answered."""
    def good() -> bool:
        return cloud.lab.reaches(cloud.one, "198.51.100.1") and cloud.lab.cable_of(MAC_OF_GATE) in cables

    return cloud.lab.until(good)
