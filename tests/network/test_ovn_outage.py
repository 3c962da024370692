"""OVN's databases die and come back: nothing is lost, and callers are told at once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.network import lab
from tests.network.cases import NET, ONE, small_cloud

from moln.kernel.errors import BackendUnreachable
from moln.network.drivers.base import EngineSettings
from moln.network.drivers.ovn import OvnDriver
from moln.network.model.topology import Change, Desired, Topology

pytestmark = [pytest.mark.engines, pytest.mark.skipif(not lab.available(), reason="needs root and OVN")]


async def test_a_dead_database_is_unreachable_and_a_live_one_is_caught_up() -> None:
    central = lab.Central()
    driver = OvnDriver(central.northbound, central.southbound, EngineSettings(), timeout_s=2)
    try:
        cloud = small_cloud()
        await driver.start(1)
        await driver.apply(Desired(topology=cloud, complete=True))
        os.kill(int(Path(f"{central.dir}/nb.pid").read_text()), signal.SIGKILL)
        less = Desired(topology=Topology(), changes=frozenset({Change("names", NET)}))
        with pytest.raises(BackendUnreachable):
            await driver.apply(less)
        socket = Path(f"{central.dir}/nb.sock")
        socket.unlink(missing_ok=True)
        central.daemon("ovsdb-server", "nb2", f"--remote=punix:{socket}", f"--unixctl={central.dir}/nb2.ctl", f"{central.dir}/nb.db")
        for attempt in range(10):
            try:
                await driver.start(2 + attempt)
                break
            except BackendUnreachable:
                continue
        await driver.apply(Desired(topology=cloud, complete=True))
        assert await driver.check(Desired(topology=cloud, complete=True)) == []
    finally:
        await driver.stop()
        central.close()


async def test_no_database_at_all_is_unreachable(tmp_path: Path) -> None:
    driver = OvnDriver(f"unix:{tmp_path}/none.sock", f"unix:{tmp_path}/none.sock", EngineSettings(), timeout_s=2)
    with pytest.raises(BackendUnreachable):
        await driver.start(1)
    await driver.stop()


async def test_one_thing_that_ovn_refuses_keeps_nothing_else_from_being_done() -> None:
    """SEC-30: here a port whose name somebody else has taken in OVN."""
    central = lab.Central()
    driver = OvnDriver(central.northbound, central.southbound, EngineSettings())
    try:
        central.nbctl("ls-add", "theirs", "--", "lsp-add", "theirs", ONE)
        await driver.start(1)
        cloud = Desired(topology=small_cloud(), complete=True)
        assert (await driver.apply(cloud)).refused == {Change("port", ONE)}
        problems = await driver.check(cloud)
        assert len(problems) == 1 and ONE in problems[0]
        assert (await driver.apply(cloud)).written == 0
        central.nbctl("ls-del", "theirs")
        assert (await driver.apply(cloud)).refused == frozenset()
        assert await driver.check(cloud) == []
    finally:
        await driver.stop()
        central.close()
