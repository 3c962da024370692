"""OVN's databases as clusters with a member on each controller: begun from a standalone one, joined, seen, and left; what nodes reach of them."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from tests.network import lab
from tests.network.cases import small_cloud
from tests.network.test_ovn_controllers import First

from moln.host import ovn_cluster
from moln.host.ovs import Ovs
from moln.host.roles import (
    CONTROLLERS_SOUTHBOUND_PORT,
    NORTHBOUND_PORT,
    NORTHBOUND_RAFT_PORT,
    SOUTHBOUND_PORT,
    SOUTHBOUND_RAFT_PORT,
)
from moln.kernel.controllers import heritage, proof
from moln.kernel.controllers.clusters import Standing
from moln.kernel.http.certificates import Authority
from moln.network.drivers.base import EngineSettings
from moln.network.drivers.ovn import OvnDriver
from moln.network.drivers.ovn_cluster import OvnClusters
from moln.network.model.topology import Desired

pytestmark = [pytest.mark.engines, pytest.mark.skipif(not lab.available(), reason="needs root and OVN")]
ONE, TWO = "127.78.0.1", "127.78.0.2"
NOW = datetime.now(UTC)
WAIT_S = 30


class Controller(First):
    """One with members of its own. peers: whose members its own join."""

    def __init__(self, home: Path, name: str, address: str, peers: tuple[str, ...] = ()):
        super().__init__(home)
        proof.ensure(home, name, NOW)
        self.machine = msgspec.structs.replace(self.machine, name=name, address=address, peers=peers, clusters=("ovn",), joined=peers[0] if peers else "")
        self.clusters = OvnClusters(self.places.ovn, ovn_cluster.remotes)

    def driver(self) -> OvnDriver:
        """As the network area makes it."""
        return OvnDriver(f"unix:{self.places.nb_socket}", f"unix:{self.places.sb_socket}", EngineSettings(), timeout_s=10)

    async def until(self, members: int) -> list[Standing]:
        """Until both clusters have so many members, all up."""
        ends = time.monotonic() + WAIT_S
        while True:
            found = await self.clusters.look([])
            if all(len(s.members) == members and all(m.up for m in s.members) for s in found):
                return found
            assert time.monotonic() < ends, found
            await asyncio.sleep(0.05)

    def northd_ends(self) -> None:
        self.processes[-1].wait(WAIT_S)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Controller, Controller]]:
    """The first began as an older version's, with a network in its standalone databases; neither has started again."""
    first = Controller(tmp_path / "one", "c1", ONE)
    clustered = first.machine
    first.machine = msgspec.structs.replace(clustered, clusters=())
    first.start()
    lab.run(str(first.places.bin / "ovn-nbctl"), "ls-add", "of-before")
    first.stop()
    for file in first.places.ovn.glob("*.sock"):
        file.unlink()
    first.processes, first.machine = [], clustered
    (tmp_path / "two").mkdir()
    heritage.keep(tmp_path / "two", heritage.Heritage(heritage.files(first.places.home), ""))
    second = Controller(tmp_path / "two", "c2", TWO, (ONE,))
    yield first, second
    for each in (second, first):
        each.stop()


async def test_a_cluster_begins_with_what_the_standalone_database_had_and_another_joins(pair: tuple[Controller, Controller]) -> None:
    first, second = pair
    first.start()
    assert "of-before" in lab.run(str(first.places.bin / "ovn-nbctl"), "ls-list")
    assert all(s.members[0].leads and s.spare == 0 for s in await first.until(1))
    inode = (first.places.ovn / "nb.db").stat().st_ino
    ovn_cluster.ensure_databases(first.places, Ovs("system", Path("/")), first.machine)  # as each later start does
    assert (first.places.ovn / "nb.db").stat().st_ino == inode, "what is a cluster stays"

    second.start()
    await second.until(2)
    assert "of-before" in lab.run(str(second.places.bin / "ovn-nbctl"), "ls-list")
    cloud = Desired(topology=small_cloud(), complete=True)
    follower = second.driver()
    await follower.start(7)
    assert (await follower.apply(cloud)).written, "a follower passes it on"
    assert await follower.check(cloud) == []
    await follower.stop()

    await first.clusters.keep([ONE, TWO])
    first.northd_ends()  # who keeps engines starts it again, with both
    assert (first.places.ovn / "northbound").read_text() == f"ssl:{ONE}:6641,ssl:{TWO}:6641"
    await first.clusters.keep([ONE, TWO])  # nothing has changed: nobody is asked, and nobody is there

    await first.clusters.remove(TWO)
    await first.clusters.remove(TWO)
    assert [len(s.members) for s in await first.until(1)] == [1, 1]


async def test_a_node_reaches_the_relay_and_neither_members_nor_what_they_may(pair: tuple[Controller, Controller], tmp_path: Path) -> None:
    first, _ = pair
    first.start()
    await first.until(1)
    home = first.places.home
    node = Authority(home / "tls", NOW).ensure_member(tmp_path / "node.pem", "node", "n1", NOW)
    proved = [f"--private-key={node}", f"--certificate={node}", f"--ca-cert={home}/controllers/both.crt", "--timeout=5", "--no-leader-only"]
    at = f"--db=ssl:{ONE}:6642"
    lab.run("ovn-sbctl", *proved, at, "chassis-add", "n1", "geneve", "192.0.2.9")
    assert "n1" in lab.run(str(first.places.bin / "ovn-sbctl"), "show"), "its own row came to the member"
    for refused in (["chassis-add", "n2", "geneve", "192.0.2.8"], ["set", "SB_Global", ".", "external_ids:a=b"]):
        with pytest.raises(AssertionError, match="permission error"):
            lab.run("ovn-sbctl", *proved, at, *refused)
    own = home / "controllers/controller.pem"
    for port in (NORTHBOUND_PORT, CONTROLLERS_SOUTHBOUND_PORT, NORTHBOUND_RAFT_PORT, SOUTHBOUND_RAFT_PORT):
        assert let_in(port, own) and not let_in(port, node), port
    assert let_in(SOUTHBOUND_PORT, node)


def let_in(port: int, proof_file: Path) -> bool:
    """Whether a server takes this certificate: in TLS 1.3 it says no only after the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(proof_file)
    try:
        with socket.create_connection((ONE, port), timeout=2) as plain, context.wrap_socket(plain) as secure:
            return secure.recv(1) != b""
    except TimeoutError:
        return True  # it waits for what is asked
    except OSError:
        return False
