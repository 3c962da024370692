"""Two controllers and one pair of OVN's databases: the second reaches them over TLS as a controller; a node's certificate does not open the northbound one."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.network import lab
from tests.network.cases import small_cloud

from moln.host import ovn, proofs
from moln.host.ovs import Ovs
from moln.host.places import Places
from moln.host.roles import Machine, Role
from moln.host.settings import HostSettings
from moln.host.users import ensure_users
from moln.kernel.controllers import heritage, proof
from moln.kernel.http.certificates import Authority
from moln.network.drivers.base import EngineSettings, Fenced
from moln.network.drivers.ovn import OvnDriver
from moln.network.model.topology import Desired

pytestmark = [pytest.mark.engines, pytest.mark.skipif(not lab.available(), reason="needs root and OVN")]
ADDRESS = "127.77.0.1"
NOW = datetime.now(UTC)
WAIT_S = 30


class First:
    """The first controller's databases, started by the words of its plan."""

    def __init__(self, home: Path):
        self.places = Places(home)
        for folder in (self.places.host, self.places.bin):
            folder.mkdir(parents=True)
        self.machine = Machine(Role.CONTROLLER, "c1", ADDRESS, guests=False, tls=proofs.tls(self.places))
        Authority(home / "tls", NOW).ensure_member(home / "tls/controller.pem", "controller", "c1", NOW)
        proof.ensure(home, "c1", NOW)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        system = Ovs("system", Path("/"))
        ensure_users()  # who would own them
        ovn.ensure_databases(self.places, system, self.machine)
        ovn.write_clients(self.places, system)
        for engine in ovn.engines(self.places, system, HostSettings(), "c1", self.machine):
            with open(self.places.home / f"{engine.name}.log", "ab") as log:
                self.processes.append(subprocess.Popen(engine.argv, env={**os.environ, **engine.env}, stdout=log, stderr=log))
            ends = time.monotonic() + WAIT_S
            while engine.ready_socket and not Path(engine.ready_socket).exists():
                assert time.monotonic() < ends, (self.places.home / f"{engine.name}.log").read_text()
                time.sleep(0.02)
            for command in engine.after:
                lab.run(*command)

    def stop(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGKILL)
            process.wait()


@pytest.fixture
def first(tmp_path: Path) -> Iterator[First]:
    home = tmp_path / "one"
    made = First(home)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def driver_of(home: Path) -> OvnDriver:
    """As the network area makes it for a controller that joined."""
    among = str(home / "controllers/controller.pem")
    tls = (among, among, str(home / "controllers/both.crt"))
    return OvnDriver(f"ssl:{ADDRESS}:6641", f"ssl:{ADDRESS}:6642", EngineSettings(), tls=tls, timeout_s=10)


async def test_the_second_controller_writes_over_tls_and_stops_when_another_has_taken_over(first: First, tmp_path: Path) -> None:
    second = tmp_path / "two"
    second.mkdir()
    heritage.keep(second, heritage.Heritage(heritage.files(first.places.home), ""))
    proof.ensure(second, "c2", NOW)
    cloud = Desired(topology=small_cloud(), complete=True)
    joined = driver_of(second)
    await joined.start(7)
    assert (await joined.apply(cloud)).written
    assert await joined.check(cloud) == [] and await joined.chassis() == []

    own = OvnDriver(f"unix:{first.places.nb_socket}", f"unix:{first.places.sb_socket}", EngineSettings(), timeout_s=10)
    await own.start(8)
    with pytest.raises(Fenced):
        await joined.apply(cloud)
    assert await own.check(cloud) == []
    await own.stop()
    await joined.stop()


def test_a_node_reaches_the_southbound_database_and_not_the_northbound_one(first: First, tmp_path: Path) -> None:
    home = first.places.home
    node = Authority(home / "tls", NOW).ensure_member(tmp_path / "node.pem", "node", "n1", NOW)
    proved = [f"--private-key={node}", f"--certificate={node}", f"--ca-cert={home}/controllers/both.crt", "--timeout=5"]
    assert "Chassis" not in lab.run("ovn-sbctl", *proved, f"--db=ssl:{ADDRESS}:6642", "show")
    with pytest.raises(AssertionError):
        lab.run("ovn-nbctl", *proved, f"--db=ssl:{ADDRESS}:6641", "show")
    with pytest.raises(AssertionError):
        lab.run("ovn-sbctl", *proved, f"--db=ssl:{ADDRESS}:6642", "set-connection", "ptcp:1")
