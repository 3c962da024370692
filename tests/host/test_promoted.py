"""A cloud that `moln up` made becomes the controller of two machines while a guest of it is pinged: real engines, emulated guests."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Network

import pytest
from tests.e2e.namespace import inside
from tests.e2e.waiting import until
from tests.host.moving import BOOT_ID, Guest, Moving
from tests.host.test_two_machines import MOLN, URL
from tests.network import machines
from tests.network.lab import run
from tests.node.turns import CACHE, GUESTS, guests_alone

from moln.demo import story
from moln.demo.client import Client
from moln.guest.build import build_guest_image
from moln.host.places import PACKAGE_ROOT

pytestmark = [pytest.mark.engines, GUESTS, pytest.mark.timeout(1800), pytest.mark.skipif(not machines.available(), reason="needs root and engines")]
HOST = socket.gethostname()
RANGE = "172.24.4.0/24"
LONGEST_S = 5.0  # without an answer of the guest's, on a machine that others use
INIT = ("controller", "init", "--listen", "192.0.2.1", "--detach")


class Near(Guest):
    """Reached from its controller's machine, which is the router of its address."""

    def _ssh(self, command: str) -> subprocess.CompletedProcess[str]:
        words = ["ip", "netns", "exec", f"{self.at.tag}-c1", "ssh", "-i", str(self.at.key), "-o", "StrictHostKeyChecking=no", "-o",
                 "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", "LogLevel=ERROR",
                 f"root@{self.address}", command]  # fmt: skip
        return subprocess.run(words, capture_output=True, text=True, timeout=90, check=False)


class Grown(Moving):
    """`c1` is a cloud of its own with a guest; `n1` is nothing yet."""

    def up(self) -> None:
        image = build_guest_image(CACHE / "guest.qcow2")  # while there is a network
        self.cloud.moln("c1", "up", "--detach")
        home = self.cloud.home / "c1"
        (home / "demo").mkdir(exist_ok=True)
        with inside(f"{self.tag}-c1", keep=True):
            self.client = client = Client("http://127.0.0.1:5000", user="admin", password=self.password(), project="admin")
            self.image = story.ensure_image(client, image)["id"]
            self.public = story.ensure_public_network(client, IPv4Network(RANGE))
            self.network = story.ensure_private_network(client, self.public)
            self.group, self.key = story.ensure_security_group(client), story.ensure_key(client, home / "demo")
            self.flavor = story.ensure_flavor(client)["id"]

    def password(self) -> str:
        return (self.cloud.home / "c1/admin.password").read_text().strip()

    def promoted(self) -> None:
        """The APIs are elsewhere."""
        with inside(f"{self.tag}-c1", keep=True):
            self.client = Client(URL, user="admin", password=self.password(), project="admin", cacert=str(self.cloud.home / "c1/tls/ca.crt"))

    def refused(self, *arguments: str) -> str:
        """Why."""
        words = ["nsenter", f"--net=/run/netns/{self.tag}-c1", sys.executable, "-P", "-c", MOLN, *arguments, "--home", str(self.cloud.home / "c1")]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)})
        assert done.returncode != 0, done.stdout
        return done.stderr


@pytest.fixture(scope="module")
def grown() -> Iterator[Grown]:
    with guests_alone():
        found = Grown()
        try:
            found.up()
            yield found
        finally:
            found.down()


@pytest.fixture(scope="module")
def guest(grown: Grown) -> Near:
    """Booted before anybody thought of a second machine."""
    made = grown.boot("one", HOST)
    return Near(grown, made.id, made.address)


@pytest.fixture(scope="module")
def silence_s(grown: Grown, guest: Near) -> float:
    """How long the guest did not answer, while its cloud became one of several."""
    before = guest.boot_id()
    words = ["ip", "netns", "exec", f"{grown.tag}-c1", "ping", "-D", "-i", "0.1", guest.address]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as pinging:
        try:
            grown.cloud.moln("c1", *INIT)
        finally:
            pinging.terminate()
            said, _ = pinging.communicate(timeout=20)
    grown.promoted()
    times = [float(found) for found in re.findall(r"^\[([\d.]+)\] \d+ bytes from", said, re.MULTILINE)]
    assert len(times) > 10
    assert guest.boot_id() == before
    return max(later - earlier for earlier, later in zip(times, times[1:], strict=False))


def test_what_would_cut_guests_or_is_no_such_cloud_is_refused_and_changes_nothing(grown: Grown, guest: Near) -> None:
    for more, why in (
        (("--provider-interface", "eth1"), f"{guest.address}.*--replace-gateway"), (("--name", "other"), "leave out --name"), (("--no-guests",), "--no-guests"),
        (("--ha",), "leave out --no-guests and --ha"), (("--database-url", "postgresql://u@h/d"), "moln grow"), (("--listen", "192.0.2.77"), "does not have"),
    ):  # fmt: skip
        assert re.search(why, grown.refused(*INIT, *more)), more
    assert not (grown.cloud.home / "c1/host/machine.json").exists()


def test_guests_notice_nothing(silence_s: float, guest: Near) -> None:
    print(f"the longest time without an answer was {silence_s:.2f} s")
    assert silence_s < LONGEST_S
    assert guest.run("ping -c1 -W5 172.24.4.1 >/dev/null && echo out") == "out"


def test_what_was_there_is_there(grown: Grown, guest: Near, silence_s: float) -> None:
    assert grown.server(guest.id)["status"] == "ACTIVE"
    assert grown.service(HOST)["state"] == "up"
    assert grown.refused("node", "join", URL, "--token", "x.y") and f"{HOST}\tup" in grown.cloud.moln("c1", "node", "list")


@pytest.fixture(scope="module")
def other(grown: Grown, silence_s: float) -> Near:
    """On a machine that joined."""
    token = grown.cloud.moln("c1", "node", "token").strip()
    grown.cloud.moln("n1", "node", "join", URL, "--token", token, "--name", "n1", "--detach")
    made = grown.boot("two", "n1")
    return Near(grown, made.id, made.address)


def fixed(guest: Guest) -> str:
    found = guest.at.server(guest.id)["addresses"].values()
    return next(a["addr"] for of in found for a in of if a["OS-EXT-IPS:type"] == "fixed")


def test_a_machine_joins_and_guests_of_both_reach_each_other_and_the_world(grown: Grown, guest: Near, other: Near) -> None:
    assert other.host == "n1" and guest.host == HOST and other.boot_id()  # it has begun, too
    for one, another in ((guest, other), (other, guest)):
        assert one.run(f"ping -c3 -W5 {fixed(another)} >/dev/null && echo reached") == "reached"
    assert other.run("ping -c1 -W5 172.24.4.1 >/dev/null && echo out") == "out"


def test_the_first_guest_moves_to_the_second_machine(grown: Grown, guest: Near, other: Near) -> None:
    boot_id = guest.run(BOOT_ID)
    guest.act(**{"os-migrateLive": {"host": "n1", "block_migration": "auto"}})
    guest.wait("ACTIVE")
    assert guest.migration() == "completed" and guest.host == "n1" and guest.run(BOOT_ID) == boot_id


def test_another_authority_takes_the_place_of_the_clouds_own_while_guests_work(grown: Grown, guest: Near, other: Near) -> None:
    kept = (grown.cloud.home / "c1/tls/ca.crt").read_bytes()
    engines = grown.cloud.moln("c1", "status")
    assert "alone counts" in grown.cloud.moln("c1", "certificates", "rotate", "--end")
    here, there = grown.cloud.home / "c1/tls/ca.crt", grown.cloud.home / "n1/host/node/member/ca.crt"
    assert here.read_bytes() == there.read_bytes() != kept
    assert [line for line in grown.cloud.moln("c1", "status").splitlines() if "controller" in line or "node" in line.split()[:1]] == [
        line for line in engines.splitlines() if "controller" in line or "node" in line.split()[:1]]  # fmt: skip
    grown.promoted()
    until(lambda: "n1\tup" in grown.cloud.moln("c1", "node", "list"), "the node is up", 60)
    agents = grown.call("GET", "/network/v2.0/agents?binary=ovn-controller")["agents"]
    assert {a["host"]: a["alive"] for a in agents} == {HOST: True, "n1": True}
    third = grown.boot("three", "n1")  # what is plugged now goes by both databases, and by both ends of all links
    assert Near(grown, third.id, third.address).run("echo here") == "here"
    third.delete()


def test_a_card_in_the_gateways_place_counts_when_told(grown: Grown, guest: Near, other: Near) -> None:
    """The network behind the card has the range and its router: guests are reached again, by that."""
    boot_id = guest.run(BOOT_ID)
    assert "--replace-gateway" in grown.refused(*INIT, "--provider-interface", "eth1")
    grown.cloud.moln("c1", *INIT, "--provider-interface", "eth1", "--replace-gateway")
    run("ip", "-n", grown.cloud.world, "addr", "add", "172.24.4.1/24", "dev", "eth0")
    assert "172.24.4" not in grown.cloud.inside("c1", "ip", "address") + grown.cloud.inside("c1", "ip", "route")
    far = Guest(grown, guest.id, guest.address)
    assert far.run(BOOT_ID) == boot_id
