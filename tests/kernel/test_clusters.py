"""Engines with a member on each controller: what is said of them, and etcd's members as they come and go."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.kernel.etcd_server import EtcdServer

from moln.bench.process import lasting_port
from moln.cli.commands import controller
from moln.kernel import notifications
from moln.kernel.controllers import clusters
from moln.kernel.controllers.clusters import Clusters, Member, Standing
from moln.kernel.errors import Conflict, Unavailable
from moln.kernel.etcd import members, server
from moln.kernel.etcd.members import PEER_PORT, EtcdMembers
from moln.network.drivers.ovn_cluster import standing

STATUS = """ad1c
Name: OVN_Southbound
Cluster ID: ebee (ebee4e86-473c-454e-8d3b-e8a5c5acfb25)
Address: ssl:192.0.2.2:6644
Status: cluster member
Role: follower
Term: 2
Leader: b8ff

Connections: ->b8ff <-b8ff (->a69c) (<-a69c)
Disconnections: 2
Servers:
    b8ff (b8ff at ssl:192.0.2.3:6644) last msg 9 ms ago
    a69c (a69c at ssl:192.0.2.1:6644)
    ad1c (ad1c at ssl:[fd00::2]:6644) (self)
"""


def test_a_members_status_says_who_is_up_and_leads() -> None:
    found = standing("ovn-sb", STATUS)
    assert found.members == [Member("192.0.2.3", True, True), Member("192.0.2.1", False), Member("fd00::2", True)]
    assert found.text == "2 of 3 members are up; 192.0.2.3 leads; if one goes, nothing can be written."
    leads = standing("ovn-sb", STATUS.replace("Leader: b8ff", "Leader: self"))
    assert [m.leads for m in leads.members] == [False, False, True]
    assert not any(m.leads for m in standing("ovn-sb", STATUS.replace("Leader: b8ff", "Leader: unknown")).members)
    joining = standing("ovn-sb", STATUS.replace("->b8ff <-b8ff", "->0000 <-b8ff"))
    assert joining.members[0].up, "it asked an address, before it knew who is there"


@pytest.mark.parametrize(("up", "down", "learns", "spare"), [(1, 0, 0, 0), (2, 0, 0, 0), (1, 1, 0, -1), (3, 0, 0, 1), (2, 1, 0, 0), (2, 0, 1, 0), (3, 2, 0, 0)])
def test_how_many_may_go_is_what_votes_allow(up: int, down: int, learns: int, spare: int) -> None:
    found = [Member(f"192.0.2.{n}", n < up, n == 0) for n in range(up + down)] + [Member("192.0.2.9", True, learns=True)] * learns
    assert Standing("etcd", found).spare == spare
    assert ("nothing can be written" in Standing("etcd", found).text) == (spare <= 0)
    assert ("has no vote yet" in Standing("etcd", found).text) == bool(learns)


def test_servers_without_votes_need_one_that_is_up() -> None:
    found = [Member("192.0.2.1", False), Member("192.0.2.2", True)]
    assert Standing("nats", found, votes=False).spare == 0
    assert Standing("nats", found[:1], votes=False).text == "0 of 1 members are up; too few are: no node can be reached."


async def test_what_is_down_is_a_violation_that_names_it() -> None:
    class Two:
        async def look(self, addresses: list[str]) -> list[Standing]:
            return [Standing("etcd", [Member(address, address != "192.0.2.1") for address in addresses])]

    async def addresses() -> list[str]:
        return ["192.0.2.2", "192.0.2.1"]

    [found] = await Clusters([Two()], addresses).incomplete()  # type: ignore[list-item]
    assert "Down: 192.0.2.1." in found.message and "moln controller remove" in found.mend


def test_which_engines_are_clusters_is_a_file_that_joins_along(tmp_path: Path) -> None:
    assert clusters.names(tmp_path) == ()
    (tmp_path / "controllers").mkdir()
    (tmp_path / clusters.FILE).write_text("nats ovn something\n")
    assert clusters.names(tmp_path) == ("ovn", "nats")


def test_where_notifications_are_on_each_server_is_told_of_others(tmp_path: Path) -> None:
    """JetStream starts in no cluster without: the first controller knew nobody as it began."""
    command = [sys.executable, "-P", "-m", "moln.host.proofs", "--home", str(tmp_path), "--name", "c1", "--nats", "192.0.2.1:4222", "--as", "192.0.2.1",
               "--clusters", "ovn", "etcd", "nats", "--routes", "192.0.2.1:6222"]  # fmt: skip
    written = tmp_path / "nats-server/nats.conf"
    subprocess.run(command, check=True, timeout=60)
    assert "routes: []" in written.read_text() and "jetstream" not in written.read_text()
    (tmp_path / notifications.MARK).write_text("192.0.2.1\n192.0.2.2\nfd00::3\n")
    subprocess.run(command, check=True, timeout=60)
    assert 'routes: ["nats-route://192.0.2.2:6222", "nats-route://[fd00::3]:6222"]' in written.read_text() and "jetstream" in written.read_text()


def test_nats_stays_a_cluster_when_init_is_said_again_with_notifications_on(tmp_path: Path) -> None:
    said = argparse.Namespace(home=tmp_path, ha=True, nats=[], etcd=[], ovn_nb="")
    for name in (notifications.MARK, clusters.FILE):
        (tmp_path / name).parent.mkdir()
    (tmp_path / notifications.MARK).touch()
    assert controller.clusters(said) == ("ovn", "etcd"), "one that keeps them alone stays alone"
    (tmp_path / clusters.FILE).write_text("ovn etcd nats\n")
    assert controller.clusters(said) == ("ovn", "etcd", "nats")


@pytest.fixture
def first(tmp_path: Path) -> Iterator[EtcdServer]:
    made = EtcdServer(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.mark.engines
async def test_a_member_that_was_admitted_and_never_came_stops_nothing_and_is_removed(first: EtcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "CATCH_UP_S", 0.5)
    etcd = first.client()
    cluster = EtcdMembers(etcd)
    assert await cluster.admit("127.0.0.2") == ["127.0.0.1"]
    assert await cluster.admit("127.0.0.2") == ["127.0.0.1"], "asked again: an answer may be lost"
    await etcd.put("still", "written")
    with pytest.raises(Conflict, match=r"127.0.0.2 has not come into etcd yet"):
        await cluster.admit("127.0.0.3")
    with pytest.raises(Unavailable):
        await cluster.keep(["127.0.0.1", "127.0.0.2"])  # it has no vote as long as it is not there
    await cluster.remove("127.0.0.2")
    await cluster.remove("127.0.0.2")
    assert (await etcd.find("still")) is not None
    found = (await etcd.call("/v3/cluster/member/list", {}))["members"]
    assert len(found) == 1


@contextlib.asynccontextmanager
async def second(first: EtcdServer, cluster: EtcdMembers) -> AsyncIterator[None]:
    """Another etcd, at 127.0.0.2, which just got its vote."""
    await cluster.admit("127.0.0.2")
    with another(first, [found["peerURLs"][0] for found in sorted(await cluster._members(), key=lambda found: not found.get("name"))]):
        async with asyncio.timeout(30):
            while any(member.get("isLearner") for member in await cluster._members()):
                with contextlib.suppress(Unavailable):
                    await cluster.keep(["127.0.0.1"])
                await asyncio.sleep(0.05)
        yield


@contextlib.contextmanager
def another(first: EtcdServer, peers: list[str]) -> Iterator[None]:
    """A second etcd, at 127.0.0.2, where it was admitted. peers: URLs of who is there, itself last."""
    home = first.home / "second"
    shutil.copytree(first.home / server.CONTROLLERS, home / server.CONTROLLERS)
    server.ensure(home, frozenset({"127.0.0.1", "127.0.0.2"}), first.now)
    named = dict(zip(("e1", "e2"), peers, strict=True))
    command = ["etcd", *server.arguments(home, "e2", "127.0.0.2", lasting_port(), PEER_PORT, named)]
    with open(home / "etcd.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={})
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.engines
async def test_a_third_is_admitted_right_after_the_second_has_its_vote(first: EtcdServer) -> None:
    """etcd admits none until all votes have been connected for 5 s."""
    etcd = first.client()
    cluster = EtcdMembers(etcd)
    async with second(first, cluster):
        with pytest.raises(Unavailable, match="unhealthy cluster"):
            await etcd.call("/v3/cluster/member/add", {"peerURLs": ["https://127.0.0.4:2380"], "isLearner": True})
        others = await cluster.admit("127.0.0.3")
        assert others is not None and sorted(others) == ["127.0.0.1", "127.0.0.2"]  # as etcd lists them: by an id of its own


@pytest.mark.engines
async def test_one_is_removed_right_after_another_has_its_vote(first: EtcdServer) -> None:
    etcd = first.client()
    cluster = EtcdMembers(etcd)
    async with second(first, cluster):
        found = next(member for member in await cluster._members() if "127.0.0.2" in member["peerURLs"][0])
        with pytest.raises(Unavailable, match="unhealthy cluster"):
            await etcd.call("/v3/cluster/member/remove", {"ID": found["ID"]})
        await cluster.remove("127.0.0.2")
    assert len(await cluster._members()) == 1
