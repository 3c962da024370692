"""`moln controller init --ha`, twice `join`, a node; then the first machine dies, and a fourth takes its place, which is left alone at the end: real OVN, etcd
and NATS."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.e2e.waiting import until
from tests.host.lost import recover
from tests.host.quorum import CLUSTERS, Quorum
from tests.network import machines

pytestmark = [pytest.mark.engines, pytest.mark.timeout(900), pytest.mark.skipif(not machines.available(), reason="needs root and engines")]


@pytest.fixture(scope="module")
def quorum() -> Iterator[Quorum]:
    found = Quorum()
    try:
        found.begin()
        yield found
    finally:
        found.close()


def test_the_first_is_a_cluster_of_one_and_serves_a_node(quorum: Quorum) -> None:
    until(lambda: quorum.whole("c1", 1), "one of each")
    quorum.join_node("c1")
    assert quorum.remote() == "ssl:192.0.2.1:6642"
    until(lambda: quorum.node("c1") == "up", "the node is there")
    quorum.boot("c1", "before")


def test_the_second_joins_and_is_told_that_two_are_no_quorum(quorum: Quorum) -> None:
    assert "Two are no quorum" in quorum.join("c2", "c1")
    until(lambda: quorum.whole("c2", 2) and quorum.whole("c1", 2), "two of each")
    assert "if one goes, nothing can be written" in quorum.standing("c2")["etcd"]


def test_the_third_joins_and_any_one_may_go(quorum: Quorum) -> None:
    assert "Any one of the machines may go" in quorum.join("c3", "c2")
    until(lambda: quorum.whole("c3", 3) and quorum.whole("c1", 3), "three of each")
    said = quorum.findings("c1")
    assert {name: said[name].partition(":")[0] for name in CLUSTERS} == dict.fromkeys(CLUSTERS, "ok")
    assert said["clusters-are-whole"] == "ok: holds"


def test_a_node_that_is_there_hears_of_every_controller(quorum: Quorum) -> None:
    until(lambda: set(quorum.remote().split(",")) == {f"ssl:192.0.2.{n}:6642" for n in (1, 2, 3)}, "it is told")
    known = (quorum.home / "n1/host/node/member/nats.json").read_text()
    assert all(f"tls://192.0.2.{n}:4222" in known for n in (1, 2, 3))


def test_the_first_machine_dies_and_a_server_boots_through_the_second(quorum: Quorum) -> None:
    quorum.die("c1")
    began = time.monotonic()

    def gone(what: str) -> None:
        print(f"after {time.monotonic() - began:.1f} s: {what}")

    made = quorum.call("c2", "POST", "/network/v2.0/networks", {"network": {"name": "late"}})["network"]["id"]
    gone("a network is taken")
    until(lambda: made in quorum.southbound("c3"), "northd has it", 60)
    gone("it is in OVN's southbound database")
    until(quorum.connected, "the node finds another southbound database", 60)
    gone("the node's ovn-controller is connected")
    quorum.boot("c2", "after")
    gone("a server is ACTIVE")
    said = quorum.findings("c2")
    assert all(said[name].startswith("note: 2 of 3 members are up") for name in CLUSTERS - {"nats"}), said
    assert "192.0.2.1" in said["clusters-are-whole"] and "c1" in said["controllers-live"]
    until(lambda: quorum.node("c3") == "up", "the node is there for the third as well", 60)


def test_the_dead_one_is_removed_and_another_machine_takes_its_place(quorum: Quorum) -> None:
    quorum.moln("c2", "controller", "remove", "c1")
    until(lambda: quorum.whole("c2", 2) and quorum.whole("c3", 2), "two of each")
    quorum.join("c4", "c3")
    until(lambda: quorum.whole("c2", 3) and quorum.whole("c4", 3), "three of each")
    until(lambda: set(quorum.remote().split(",")) == {f"ssl:192.0.2.{n}:6642" for n in (2, 3, 4)}, "the node is told")
    assert quorum.findings("c4")["clusters-are-whole"] == "ok: holds"


def test_then_the_second_may_die_as_well(quorum: Quorum) -> None:
    quorum.die("c2")
    quorum.boot("c4", "later")


def test_then_the_third_for_good_as_well_and_the_last_one_goes_on(quorum: Quorum) -> None:
    """The database is elsewhere, and nobody is asked whether something is missing there."""
    quorum.die("c3")
    status, said = recover(quorum, "c4", "--lost", "192.0.2.2", "--lost", "192.0.2.3")
    assert status == 0 and "Forgotten: c2, c3." in said
    until(lambda: quorum.whole("c4", 1), "one of each")
    quorum.boot("c4", "last")
