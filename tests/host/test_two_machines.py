"""`moln controller init` and `moln node join`, as an operator types them, on two machines in network namespaces: real engines, no guests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.network import machines
from tests.network.lab import run

from moln.host import chrony, roles
from moln.host.places import PACKAGE_ROOT, Places
from moln.host.roles import Role
from moln.host.supervise.processes import Identity

pytestmark = [pytest.mark.engines, pytest.mark.skipif(not machines.available(), reason="needs root and engines")]
MOLN = "import sys; from moln.cli import main; sys.exit(main())"
ASK = """
import json, sys
from moln.demo.client import Client
url, home, path = sys.argv[1:]
client = Client(url, user="admin", password=open(home + "/admin.password").read().strip(), project="admin", cacert=home + "/tls/ca.crt")
print(json.dumps(client.call("GET", path)))
"""
URL = "https://192.0.2.1:5000"


class Cloud(machines.Homes):
    """Machines `c1` and `n1`, with nothing on them yet but this copy of Moln."""

    def __init__(self) -> None:
        super().__init__()
        self.fabric()
        for number, name in ((1, "c1"), (2, "n1")):
            self.machine(name, number)

    def inside(self, name: str, *command: str, check: bool = True) -> str:
        return run("nsenter", f"--net=/run/netns/{self.tag}-{name}", *command, timeout_s=300, check=check, env={"PYTHONPATH": str(PACKAGE_ROOT)})

    def moln(self, name: str, *arguments: str) -> str:
        return self.inside(name, sys.executable, "-P", "-c", MOLN, *arguments, "--home", str(self.home / name))

    def ask(self, path: str) -> dict[str, list[dict[str, object]]]:
        return json.loads(self.inside("c1", sys.executable, "-P", "-c", ASK, URL, str(self.home / "c1"), path))

    def close(self) -> None:
        left = ""
        for name in ("n1", "c1"):
            if (self.home / name / "host").exists():
                self.moln(name, "down", "--purge")
                left += run("ip", "-n", f"{self.tag}-{name}", "-br", "link")
        super().close()
        assert "moln-" not in left, left


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    found = Cloud()
    try:
        found.moln("c1", "controller", "init", "--listen", "192.0.2.1", "--provider-interface", "eth1", "--no-guests", "--name", "c1",
                   "--detach")  # fmt: skip
        token = found.moln("c1", "node", "token").strip()
        found.moln("n1", "node", "join", URL, "--token", token, "--provider-interface", "eth1", "--name", "n1", "--detach")
        yield found
    finally:
        found.close()


def test_the_node_is_there_for_every_service(cloud: Cloud) -> None:
    services = cloud.ask("/compute/v2.1/os-services?binary=nova-compute")["services"]
    assert [(s["host"], s["status"], s["state"]) for s in services] == [("n1", "enabled", "up")]
    agents = cloud.ask("/network/v2.0/agents?binary=ovn-controller")["agents"]
    assert {(a["host"], a["alive"], a["configurations"]["bridge-mappings"], a["configurations"]["tunnel_ip"]) for a in agents} == {  # type: ignore[index]
        ("c1", True, "public", "192.0.2.1"), ("n1", True, "public", "192.0.2.2")}  # fmt: skip
    assert "n1\tup" in cloud.moln("c1", "node", "list")


def test_each_machine_runs_what_its_role_says_and_says_so(cloud: Cloud) -> None:
    for name, role in (("c1", Role.CONTROLLER), ("n1", Role.NODE)):
        machine = roles.read(Places(cloud.home / name))
        assert machine.role == role
        shown = {line.split()[0] for line in cloud.moln(name, "status").splitlines() if " ready " in line}
        assert shown - {chrony.ENGINE} == roles.engines(machine) - {"metadata"}  # ours runs where nothing else keeps the clock


def test_doctor_finds_nothing_on_either(cloud: Cloud) -> None:
    for name in ("c1", "n1"):
        found = json.loads(cloud.moln(name, "doctor", "--json"))
        assert [f for f in found if f["level"] == "bad"] == []


def test_what_listens_is_what_the_docs_say(cloud: Cloud) -> None:
    lines = cloud.inside("c1", "ss", "-Hltn").splitlines()
    assert {line.split()[3] for line in lines} == {"192.0.2.1:5000", "192.0.2.1:5011", "192.0.2.1:6641", "192.0.2.1:6642", "192.0.2.1:4222"}
    assert [line.split()[3] for line in cloud.inside("n1", "ss", "-Hltn").splitlines()] == ["192.0.2.2:5010"]


def test_the_same_commands_again_change_nothing(cloud: Cloud) -> None:
    before = cloud.moln("c1", "status")
    cloud.moln("c1", "controller", "init", "--listen", "192.0.2.1", "--provider-interface", "eth1", "--no-guests", "--name", "c1", "--detach")
    cloud.moln("n1", "up", "--detach")
    cloud.moln("n1", "node", "join", URL, "--token", "used-long-ago.0", "--provider-interface", "eth1", "--name", "n1", "--detach")
    after = cloud.moln("c1", "status")
    assert [line for line in after.splitlines() if " ready " in line] == [line for line in before.splitlines() if " ready " in line]


def test_a_node_is_not_made_a_controller_by_accident(cloud: Cloud) -> None:
    said = cloud.inside("n1", sys.executable, "-P", "-c", MOLN, "controller", "init", "--listen", "192.0.2.2", "--home", str(cloud.home / "n1"),
                        check=False)  # fmt: skip
    assert said == ""
    said = cloud.inside("c1", sys.executable, "-P", "-c", MOLN, "node", "join", URL, "--token", "x.y", "--home", str(cloud.home / "c1"), check=False)
    assert said == "" and roles.read(Places(cloud.home / "c1")).role == Role.CONTROLLER
    assert roles.read(Places(cloud.home / "n1")).role == Role.NODE


def pid(cloud: Cloud, engine: str) -> int:
    """Of an engine that runs; else 0. engine: `c1/controller`."""
    machine, _, name = engine.partition("/")
    found = Identity.read(cloud.home / machine / f"host/run/{name}.pid")
    return found.pid if found and found.alive() else 0


def alive(cloud: Cloud) -> dict[str, object]:
    """What the cloud says of the node."""
    services = {s["host"]: s["state"] for s in cloud.ask("/compute/v2.1/os-services?binary=nova-compute")["services"]}
    return {"compute": services.get("n1"), "listed": "n1\tup" in cloud.moln("c1", "node", "list")}


def test_a_node_that_is_cut_off_is_down_and_comes_back_by_itself(cloud: Cloud) -> None:
    cloud.cut(2, "down")
    assert cloud.until(lambda: alive(cloud) == {"compute": "down", "listed": False})
    cloud.cut(2, "up")
    assert cloud.until(lambda: alive(cloud) == {"compute": "up", "listed": True})


@pytest.mark.parametrize("engine", ["n1/node", "n1/ovn-controller", "c1/controller", "c1/nats-server", "c1/ovsdb-sb"])
def test_all_is_there_again_after_kill_9_of_any_of_both_ends(cloud: Cloud, engine: str) -> None:
    before = pid(cloud, engine)
    assert before > 1
    os.kill(before, signal.SIGKILL)
    assert cloud.until(lambda: pid(cloud, engine) not in (0, before))
    assert cloud.until(lambda: answered(cloud) == {"compute": "up", "listed": True})


def answered(cloud: Cloud) -> dict[str, object]:
    """The same while the APIs may be away."""
    try:
        return dict(alive(cloud))
    except AssertionError:
        return {}


def test_purge_leaves_the_card_and_nothing_else(cloud: Cloud) -> None:
    cloud.moln("n1", "down", "--purge")
    links = {link["ifname"] for link in json.loads(cloud.inside("n1", "ip", "-j", "link"))}
    assert links == {"lo", "eth0", "eth1"}
    assert "moln" not in cloud.inside("n1", "nft", "list", "tables")
    assert cloud.inside("n1", "cat", "/proc/sys/net/ipv4/ip_forward").strip() == "0"
    assert cloud.inside("n1", "cat", "/proc/sys/net/ipv6/conf/eth1/disable_ipv6").strip() == "0"
    assert not (cloud.home / "n1").exists()
    assert subprocess.run(["pgrep", "-f", str(cloud.home / "n1")], capture_output=True, check=False).stdout == b""
