"""`moln certificates rotate` where PostgreSQL is on each controller: another authority at the end, and the database takes writes throughout. Real PostgreSQL,
Patroni, etcd, NATS and OVN with a member on each of three controllers, and a node; which certificate each of them shows is asked of its port. At the end
two of the three are lost for good: `moln controller recover` on the third, killed between its steps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.waiting import until
from tests.host.lost import lose, recover
from tests.host.rotated import ADDRESSES, AMONG, LOST, OPEN, PEERS, Rotated, Writing, names
from tests.host.test_several_controllers import FIRST, SECOND
from tests.host.test_stolen_controller import NODE, THIRD
from tests.network import machines
from tests.network.lab import run

from moln.cli import admin
from moln.host import rereading
from moln.host.places import INTEGRATION_BRIDGE, Places
from moln.kernel.http import certificates

LOST_BOUND_S = 60  # half a minute, by the page

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1800), pytest.mark.skipif(not machines.available(), reason="needs root and engines")]


@pytest.fixture(scope="module")
def cloud() -> Iterator[Rotated]:
    found = Rotated()
    try:
        found.up()
        yield found
    finally:
        found.close()


def test_the_machine_that_does_the_most_is_lost_and_the_others_go_on(cloud: Rotated) -> None:
    """c1 takes writes, began every cluster, and is the one that the node joined at. It comes back, and takes writes again when it is asked to."""
    until(cloud.confirmed, "both have everything", 120, each_s=1)
    writing = Writing(cloud, "lost", SECOND, LOST_BOUND_S)
    try:
        lose(cloud, FIRST, 1)
        writing.goes_on()
        network = cloud.post(SECOND, "/network/v2.0/networks", {"network": {"name": "without-c1"}})["network"]["id"]
        until(lambda: network in run(str(Places(cloud.home / SECOND).bin / "ovn-nbctl"), "ls-list"), "OVN has it", 60, each_s=1)
        until(lambda: "n4\tup" in cloud.moln(THIRD, "node", "list"), "the node found another server of NATS", 60, each_s=1)
        assert [v for v in cloud.violations(THIRD) if "c1" in v], "doctor names who is away"
    finally:
        answered = writing.end()
    assert answered <= names(cloud, THIRD)
    cloud.cut(1, "up")
    cloud.moln(FIRST, "up", "--detach")
    until(cloud.streaming, "it follows", 120, each_s=1)
    cloud.switch_over("c1")
    until(lambda: cloud.streaming() and cloud.takes_writes() == "c1", "it takes writes", 60, each_s=1)
    assert answered <= names(cloud)


def test_every_engine_shows_the_new_one_before_the_old_one_ends(cloud: Rotated) -> None:
    until(cloud.streaming, "both follow", 120, each_s=1)
    assert {f"{machine} {name}" for machine in ADDRESSES for name in (*AMONG, *OPEN)} - cloud.opened() == set()
    writing = Writing(cloud, "begun")
    try:
        cloud.rotate()
        assert cloud.standing()["untold"] == ["c2", "c3"]
        assert {name: by for name, by in cloud.shown().items() if by != "old"} == {}
        refused = cloud.rotate("--end", "--force")
        assert "PostgreSQL is on each controller, and c2, c3 would be cut off" in refused
        assert cloud.standing()["step"] == "coming.pem"
        for machine in (SECOND, THIRD):
            cloud.take_anew_at(machine)
        until(lambda: not cloud.late(), "everybody is on the new one", 120, each_s=1)
        assert {name: by for name, by in cloud.shown().items() if by != "new"} == {}
    finally:
        answered = writing.end()
    assert answered <= names(cloud)


def test_the_old_one_ends_and_the_database_takes_writes_throughout(cloud: Rotated) -> None:
    until(cloud.streaming, "both follow", 120, each_s=1)
    writing = Writing(cloud, "ended")
    try:
        assert "alone counts" in cloud.rotate("--end")
        until(cloud.streaming, "both follow one that trusts the new authority alone", 60, each_s=1)
        rereading.begin_anew(Places(cloud.home / FIRST), ["nats-server"])
        until(lambda: cloud.routed() == {ADDRESSES[SECOND], ADDRESSES[THIRD]}, "routes are made anew with those that trust both", 30, each_s=1)
        for machine in (SECOND, THIRD):
            cloud.take_anew_at(machine)
        until(cloud.streaming, "both follow", 120, each_s=1)
    finally:
        answered = writing.end()
    assert answered <= names(cloud)
    assert {name: by for name, by in cloud.shown().items() if by != "new"} == {}
    until(lambda: not cloud.opened(), "the old one's certificates are refused", 30, each_s=1)
    until(lambda: cloud.differences() == [], "nothing is wrong", 60)
    assert {
        (cloud.home / name / folder / "ca.crt").read_bytes().count(b"BEGIN") for name in ADDRESSES for folder in ("tls", "controllers")
    } == {1}


def test_everybody_works_on_by_the_new_one_while_what_ends_soon_is_renewed(cloud: Rotated) -> None:
    writing, begun, before = Writing(cloud, "renewed"), cloud.starts(), cloud.ends()
    try:
        for machine in ADDRESSES:
            cloud.age(machine)
        until(lambda: {tuple(line.split("\t")[::2][:2]) for line in cloud.moln(THIRD, "controller", "list").splitlines()} == {("c1", "up"), ("c2", "up"), ("c3", "up")},
              "all give signs of life", 60, each_s=1)  # fmt: skip
        for machine in (FIRST, SECOND):
            network = cloud.make_network(machine, f"by-{machine}")
            until(lambda network=network: network in cloud.switches(), "OVN has it", 60, each_s=1)
        until(lambda: "n4\tup" in cloud.moln(FIRST, "node", "list"), "the node is up", 60, each_s=1)
        until(lambda: not (now := cloud.ends()).keys() & before.keys() and {*now.values()} == {certificates.DAYS},
              "each controller looks within a minute, and its engines show others", 120, each_s=2)  # fmt: skip
        until(cloud.streaming, "both follow", 60, each_s=1)
    finally:
        answered = writing.end()
    assert answered <= names(cloud)
    assert cloud.starts() == begun, "none of them began anew for it"
    listed = [line.split() for line in cloud.moln(SECOND, "certificates").splitlines() if line.startswith("engine")]
    assert {(words[1], words[2]) for words in listed} == {(name, engine) for name in ("c1", "c2", "c3") for engine in ("etcd", "postgresql", "nats", "ovn")}
    assert [message for message in cloud.violations(FIRST) if "certificate" in message] == []


def test_who_is_left_is_not_recovered_while_others_answer(cloud: Rotated) -> None:
    until(cloud.confirmed, "both have everything", 120, each_s=1)
    status, said = recover(cloud, THIRD, *LOST, "--accept-data-loss")
    assert status == 1 and "Nothing was changed: 192.0.2.1 answers (NATS at port 4222, OVN at port 6641" in said and "192.0.2.2 answers" in said


def test_two_are_lost_for_good_and_the_third_goes_on_alone(cloud: Rotated) -> None:
    """Killed after each step; what it was killed after it leaves as it is."""
    before = names(cloud)
    lose(cloud, FIRST, 1)
    lose(cloud, SECOND, 2)
    for words in (LOST, (*LOST[:2], "--accept-data-loss")):
        status, said = recover(cloud, THIRD, *words)
        assert status == 1 and "Nothing was changed." in said and "c1 took writes, and one of c3, c2 confirmed each" in said
        assert f"moln controller recover {' '.join(LOST)} --accept-data-loss" in said
    recover(cloud, THIRD, *LOST, "--accept-data-loss", killed_after="The controllers' authority")
    for title in ("OVN's databases", "etcd"):
        recover(cloud, THIRD, *LOST, killed_after=title)  # nobody can be asked now who confirmed what
    status, said = recover(cloud, THIRD, *LOST)
    assert status == 1 and "PostgreSQL may lack what was answered last: c1 took writes, and one of c3, c2 confirmed each" in said
    recover(cloud, THIRD, *LOST, "--accept-data-loss", killed_after="PostgreSQL takes writes")
    status, said = recover(cloud, THIRD, *LOST, "--accept-data-loss")
    assert status == 0 and "c3 is the only controller of the cloud now. Forgotten: c1, c2." in said
    assert names(cloud, THIRD) == before
    assert [line.split("\t")[0] for line in cloud.moln(THIRD, "controller", "list").splitlines()] == ["c3"]
    clusters = {found["name"]: found["text"] for found in admin.ask(Places(cloud.home / THIRD), "doctor", timeout_s=60)["clusters"]}
    assert len(clusters) == 4 and all(text.startswith("1 of 1 members are up") for text in clusters.values()), clusters


def test_who_was_lost_and_comes_back_is_let_in_by_no_engine(cloud: Rotated) -> None:
    cloud.cut(2, "up")

    def opened(machine: str) -> set[str]:
        """With what this one has."""
        proof, peer = (cloud.home / machine / file for file in ("controllers/controller.pem", "etcd-server/server.pem"))
        return {name for name, port in AMONG.items() if cloud.opens(
            "postgresql" if name == "postgresql" else "tls", ADDRESSES[THIRD], port, peer if name == PEERS else proof, trusts=THIRD)}  # fmt: skip

    until(lambda: opened(THIRD) >= AMONG.keys() - {PEERS}, "its cables are there again; etcd's peers look at addresses, too", 30, each_s=0.5)
    assert opened(SECOND) == set()


def test_others_join_the_one_that_was_left_and_networks_and_ports_are_made(cloud: Rotated) -> None:
    cloud.moln(SECOND, "down", "--purge")
    cloud.give_pool(SECOND)
    token = cloud.moln(THIRD, "controller", "token").strip()
    cloud.moln(SECOND, "controller", "join", f"https://{ADDRESSES[THIRD]}:5000", "--token", token, "--listen", ADDRESSES[SECOND], "--name", "c4", "--detach")
    until(lambda: [s["name"] for s in admin.ask(Places(cloud.home / THIRD), "status", timeout_s=20)["database"]["standbys"] if s["sync"] == "quorum"] == ["c4"],
          "its database follows", 90, each_s=1)  # fmt: skip
    network = cloud.post(SECOND, "/network/v2.0/networks", {"network": {"name": "later"}})["network"]["id"]
    until(lambda: network in run(str(Places(cloud.home / THIRD).bin / "ovn-nbctl"), "ls-list"), "OVN has it", 60, each_s=1)
    port = cloud.post(THIRD, "/network/v2.0/ports", {"port": {"network_id": network, "binding:host_id": "n4"}})["port"]["id"]
    run(str(Places(cloud.home / NODE).bin / "ovs-vsctl"), "add-port", INTEGRATION_BRIDGE, "later", "--", "set", "interface", "later", "type=internal",
        f"external_ids:iface-id={port}")  # fmt: skip
    until(lambda: cloud.post(THIRD, f"/network/v2.0/ports/{port}")["port"]["status"] == "ACTIVE", "the node's chassis plugs it", 90, each_s=1)
