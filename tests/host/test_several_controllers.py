"""`moln controller init --ha` and `moln controller join`, as an operator types them, on two machines in network namespaces: real PostgreSQL, etcd,
NATS and OVN. The first controller stands still for longer than its terms last: the other one leads, and the first writes nothing late."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.host.test_two_machines import MOLN, Cloud
from tests.network import machines
from tests.network.lab import run

from moln.cli import admin
from moln.host.places import Places
from moln.kernel.nodes.joining import Member

pytestmark = [pytest.mark.engines, pytest.mark.skipif(not machines.available(), reason="needs root and engines")]
MAKE = """
import sys
from moln.demo.client import Client
url, home, name = sys.argv[1:]
client = Client(url, user="admin", password=open(home + "/admin.password").read().strip(), project="admin", cacert=home + "/tls/ca.crt")
print(client.call("POST", "/network/v2.0/networks", {"network": {"name": name}})["network"]["id"])
"""
FIRST, SECOND = "c1", "n1"  # machines of the lab; the second is called c2 by the cloud
URLS = {FIRST: "https://192.0.2.1:5000", SECOND: "https://192.0.2.2:5000"}
WAIT_S = 60


def eventually(ask: Callable[[], Any], what: str) -> Any:
    ends = time.monotonic() + WAIT_S
    while not (found := ask()):
        assert time.monotonic() < ends, what
        time.sleep(0.1)
    return found


class Several(Cloud):
    def make_network(self, machine: str, name: str) -> str:
        return self.inside(machine, sys.executable, "-P", "-c", MAKE, URLS[machine], str(self.home / machine), name).strip()

    @property
    def nbctl(self) -> str:
        return str(Places(self.home / FIRST).bin / "ovn-nbctl")

    def switches(self) -> str:
        return run(self.nbctl, "ls-list")

    def epoch(self) -> int:
        return int(run(self.nbctl, "get", "NB_Global", ".", "external_ids:moln\\:epoch").strip().strip('"'))

    def violations(self, machine: str) -> list[str]:
        return [v["message"] for v in admin.ask(Places(self.home / machine), "doctor")["violations"]]


@pytest.fixture(scope="module")
def cloud() -> Iterator[Several]:
    found = Several()
    try:
        found.moln(FIRST, "controller", "init", "--ha", "--listen", "192.0.2.1", "--name", "c1", "--detach")
        token = found.moln(FIRST, "controller", "token").strip()
        found.moln(SECOND, "controller", "join", URLS[FIRST], "--token", token, "--listen", "192.0.2.2", "--name", "c2", "--detach")
        yield found
    finally:
        found.close()


def test_both_serve_the_same_cloud(cloud: Several) -> None:
    listed = [line.split("\t")[:3] for line in cloud.moln(SECOND, "controller", "list").splitlines()]
    assert listed == [["c1", URLS[FIRST], "up"], ["c2", URLS[SECOND], "up"]]
    first, second = cloud.make_network(FIRST, "of-c1"), cloud.make_network(SECOND, "of-c2")
    eventually(lambda: first in cloud.switches() and second in cloud.switches(), "who leads writes what both were asked")
    eventually(lambda: cloud.violations(FIRST) == [] and cloud.violations(SECOND) == [], "the second's database has what the first's has")
    shown = {line.split()[0] for line in cloud.moln(SECOND, "status").splitlines() if " ready " in line}
    assert {"ovsdb-nb", "ovsdb-sb", "ovsdb-nodes", "ovn-northd", "etcd", "nats-server", "postgresql", "controller"} <= shown, "its own of every engine"


def test_a_node_that_joins_at_the_second_is_told_where_ovn_is(cloud: Several) -> None:
    token = cloud.moln(SECOND, "node", "token").strip()
    folder = cloud.home / "n9"
    cloud.inside(SECOND, sys.executable, "-P", "-c", MOLN, "node", "join", URLS[SECOND], "--token", token, "--name", "n9", "--join-only",
                 "--home", str(folder))  # fmt: skip
    joined = Member(folder / "host/node/member").joined()
    assert joined is not None and joined.southbound == "ssl:192.0.2.2:6642,ssl:192.0.2.1:6642"
    assert joined.nats == ["tls://192.0.2.2:4222", "tls://192.0.2.1:4222"], "whom it asked first, and all others"
    assert "n9" in cloud.moln(FIRST, "node", "list"), "the first knows it, too"
    cloud.moln(SECOND, "node", "remove", "n9")


def test_what_the_second_holds_is_the_controllers_alone(cloud: Several) -> None:
    home = cloud.home / SECOND
    private = [home / "moln.toml", home / "admin.password", home / "keys/1.key", home / "nats/operator.pem", home / "controllers/ca.pem"]
    assert all(not file.stat().st_mode & 0o007 for file in private)
    assert (home / "moln.toml").stat().st_uid == 0, "the controller cannot change it"
    assert str(home) in (home / "moln.toml").read_text() and str(cloud.home / FIRST) not in (home / "moln.toml").read_text()


def test_a_leader_that_stood_still_is_followed_by_the_other_and_writes_nothing_late(cloud: Several) -> None:
    before = cloud.epoch()
    [pid] = [int(line) for line in run("pgrep", "-f", f"moln.controller --home {cloud.home / FIRST} ").split()]
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: cloud.epoch() > before, "the second leads")
        led = cloud.epoch()
        late = cloud.make_network(SECOND, "while-the-first-stands")
        eventually(lambda: late in cloud.switches(), "and writes")
    finally:
        os.kill(pid, signal.SIGCONT)
    again = cloud.make_network(FIRST, "of-c1-again")
    eventually(lambda: again in cloud.switches(), "the first passes on what it is asked")
    eventually(lambda: cloud.violations(SECOND) == [], "it lives again")
    assert cloud.epoch() == led, "it did not take over anew"


def test_a_setting_is_changed_for_both_without_a_restart(cloud: Several) -> None:
    log = cloud.home / SECOND / "log/controller.log"
    cloud.moln(FIRST, "controller", "set", "log_level", "debug")
    eventually(lambda: "log_level is debug from now on" in log.read_text(), "the second watches")
    assert "log_level = debug\tof all controllers" in cloud.moln(SECOND, "controller", "set")
    cloud.moln(SECOND, "controller", "set", "log_level")
    eventually(lambda: "log_level is info from now on" in log.read_text(), "it is each one's own again")


def test_postgresql_lets_in_controllers_alone(cloud: Several) -> None:
    """A node's certificate is of another authority, and there is no password to guess."""
    proof = cloud.home / FIRST / "tls/controller.pem"
    url = f"postgresql://moln@192.0.2.1:5432/moln?sslmode=require&sslcert={proof}&sslkey={proof}"
    asked = "import asyncio, asyncpg, sys; asyncio.run(asyncpg.connect(sys.argv[1]))"
    for bad in (url, "postgresql://moln@192.0.2.1:5432/moln?sslmode=require", "postgresql://moln@192.0.2.1:5432/moln?sslmode=disable"):
        done = subprocess.run(["nsenter", f"--net=/run/netns/{cloud.tag}-{SECOND}", sys.executable, "-c", asked, bad], capture_output=True,
                              text=True, timeout=60, check=False)  # fmt: skip
        assert done.returncode != 0, bad
