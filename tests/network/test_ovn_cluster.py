"""OVN's databases as clusters of three (RAFT): the writer is told all of them, follows the leader, and outlives its end."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs
from tests.network import lab
from tests.network.cases import GROUP, rule, small_cloud

from moln.bench.process import lasting_port
from moln.kernel.errors import BackendUnreachable
from moln.network.drivers.base import Applied, EngineSettings
from moln.network.drivers.ovn import OvnDriver
from moln.network.model.topology import Change, Desired

pytestmark = [pytest.mark.engines, pytest.mark.skipif(not lab.available(), reason="needs root and OVN")]
MEMBERS = 3


class Clusters(lab.Central):
    """Both databases, three members of each, on loopback."""

    def __init__(self) -> None:
        super().__init__()  # a pair of databases of its own comes with it; nobody uses that one
        self.remotes: dict[str, list[str]] = {}
        for name, database in (("nb", "OVN_Northbound"), ("sb", "OVN_Southbound")):
            raft, served = ([lasting_port() for _ in range(MEMBERS)] for _ in range(2))
            self.remotes[name] = [f"tcp:127.0.0.1:{port}" for port in served]
            for n in range(MEMBERS):
                file, own = f"{self.dir}/{name}{n}.db", f"tcp:127.0.0.1:{raft[n]}"
                if n:
                    lab.run("ovsdb-tool", "join-cluster", file, database, own, f"tcp:127.0.0.1:{raft[0]}")
                else:
                    lab.run("ovsdb-tool", "create-cluster", file, f"{lab.OVN_SCHEMAS}/ovn-{name}.ovsschema", own)
                self.daemon("ovsdb-server", f"{name}{n}", f"--remote=ptcp:{served[n]}:127.0.0.1", f"--unixctl={self.dir}/{name}{n}.ctl", file)
        lab.run("ovn-nbctl", "--timeout=20", f"--db={self.remote('nb')}", "init", env=self.env)
        lab.run("ovn-sbctl", "--timeout=20", f"--db={self.remote('sb')}", "init", env=self.env)

    def remote(self, name: str) -> str:
        return ",".join(self.remotes[name])

    def leader(self, name: str, but: int | None = None) -> int | None:
        """Which member says that it leads."""
        for n in range(MEMBERS):
            if n != but:
                told = lab.run("ovs-appctl", "-t", f"{self.dir}/{name}{n}.ctl", "cluster/status",
                               {"nb": "OVN_Northbound", "sb": "OVN_Southbound"}[name], check=False)  # fmt: skip
                if "Role: leader" in told:
                    return n
        return None

    def kill(self, name: str, n: int) -> None:
        os.kill(int(Path(f"{self.dir}/{name}{n}.pid").read_text()), signal.SIGKILL)


@pytest.fixture
def clusters() -> Iterator[Clusters]:
    made = Clusters()
    yield made
    made.close()


async def test_the_writer_follows_the_leader_of_each_database(clusters: Clusters) -> None:
    driver = OvnDriver(clusters.remote("nb"), clusters.remote("sb"), EngineSettings(), timeout_s=5)
    await driver.start(1)
    before = small_cloud()
    await driver.apply(Desired(topology=before, complete=True))
    assert await driver.check(Desired(topology=before, complete=True)) == []
    for name in ("nb", "sb"):
        first = clusters.leader(name)
        assert first is not None
        clusters.kill(name, first)
        ends = time.monotonic() + 30
        while clusters.leader(name, but=first) is None:
            assert time.monotonic() < ends
            await asyncio.sleep(0.05)
    icmp = rule(7, protocol="icmp")
    after = structs.replace(before, rules={**before.rules, icmp.id: icmp})
    assert (await written(driver, Desired(topology=after, changes=frozenset({Change("group", GROUP)})))).missing == frozenset()
    assert await driver.check(Desired(topology=after, complete=True)) == []
    assert await driver.chassis() == []
    await driver.stop()


async def written(driver: OvnDriver, desired: Desired) -> Applied:
    """As the engine's writer does it: again, until the database answers."""
    ends = time.monotonic() + 60
    while True:
        try:
            return await driver.apply(desired)
        except BackendUnreachable:
            assert time.monotonic() < ends
            await asyncio.sleep(0.1)
