"""Who serves time to whom, decided from data alone; and two real chronyd in namespaces, which may not adjust the machine's clock."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from moln.host import chrony, clock
from moln.host.places import Places
from moln.host.roles import ALONE, Machine, Role

CONTROLLER = Machine(Role.CONTROLLER, "c1", "10.98.0.1")
NODE = Machine(Role.NODE, "n1", "10.98.0.2", controllers=("10.98.0.1",))


def test_a_controller_serves_its_network_and_follows_the_sites_servers() -> None:
    serving = chrony.directives(Machine(Role.CONTROLLER, "c1", "192.0.2.1", ntp=("ntp1.example", "ntp2.example")), ["pool p iburst"], "192.0.2.0/24")
    assert serving == ["server ntp1.example iburst", "server ntp2.example iburst", "local stratum 10 orphan", "allow 192.0.2.0/24", "makestep 1 3"]
    assert chrony.directives(CONTROLLER, ["pool p iburst"], "10.98.0.0/24")[0] == "pool p iburst"
    joined = Machine(Role.CONTROLLER, "c2", "192.0.2.2", joined="192.0.2.1")
    assert chrony.directives(joined, ["pool p iburst"], "192.0.2.0/24")[0] == "server 192.0.2.1 iburst"


def test_a_node_follows_its_controllers_and_serves_nobody() -> None:
    assert chrony.directives(NODE, ["pool p iburst"], "") == ["server 10.98.0.1 iburst minpoll 2 maxpoll 6", "makestep 1 3"]


def test_a_machine_alone_is_left_as_it_is(tmp_path: Path) -> None:
    assert not chrony.keeps_time(ALONE)
    assert (chrony.engines(Places(tmp_path), ALONE), chrony.ensure(Places(tmp_path), ALONE)) == ([], "")


def test_the_distributions_sources_are_those_of_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "chrony.conf").write_text("# pool of old\npool 2.debian.pool.ntp.org iburst\nconfdir /etc/chrony/conf.d\n server time.example\nkeyfile /k\n")
    assert chrony.site_sources((tmp_path / "none", tmp_path / "chrony.conf")) == ["pool 2.debian.pool.ntp.org iburst", "server time.example"]
    assert chrony.site_sources((tmp_path / "none",)) == []


def proc(folder: Path, *, capable: bool = True, container: bool = False, namespace: str = "net:[1]") -> Path:
    for pid, net in (("1", "net:[1]"), ("self", namespace)):
        (folder / pid / "ns").mkdir(parents=True)
        (folder / pid / "ns/net").symlink_to(net)
    (folder / "1/environ").write_bytes(b"container=lxc\0" if container else b"PATH=/bin\0")
    (folder / "self/status").write_text(f"Name:\tx\nCapEff:\t{(1 << 25 if capable else 0):016x}\n")
    return folder


def test_only_a_machine_of_its_own_may_adjust_the_clock(tmp_path: Path) -> None:
    assert chrony.may_adjust(proc(tmp_path / "a"), ())
    assert not chrony.may_adjust(proc(tmp_path / "b", capable=False), ())
    assert not chrony.may_adjust(proc(tmp_path / "c", container=True), ())
    assert not chrony.may_adjust(proc(tmp_path / "d", namespace="net:[2]"), ())
    (tmp_path / "mark").touch()
    assert not chrony.may_adjust(proc(tmp_path / "e"), (tmp_path / "mark",))


def test_another_program_that_keeps_the_clock_is_left_to_it(tmp_path: Path) -> None:
    places, folder = Places(tmp_path / "home"), proc(tmp_path / "proc")
    for pid, name, command, net in (("7", "chronyd", f"chronyd\0pidfile {places.host}/chrony/chronyd.pid", "net:[1]"),
                                    ("8", "chronyd", "chronyd\0", "net:[9]"), ("9", "bash", "bash\0", "net:[1]")):  # fmt: skip
        (folder / pid / "ns").mkdir(parents=True)
        (folder / pid / "comm").write_text(name + "\n")
        (folder / pid / "cmdline").write_text(command)
        (folder / pid / "ns/net").symlink_to(net)
    assert chrony.other_keeper(places, folder) == ""  # ours, another namespace's, and one that keeps none
    (folder / "9/comm").write_text("systemd-timesyn\n")
    assert chrony.other_keeper(places, folder) == "systemd-timesyn"


@pytest.fixture
def namespaces() -> Iterator[dict[str, str]]:
    names = {"controller": f"moln-cc-{os.getpid()}", "node": f"moln-cn-{os.getpid()}"}
    for name in names.values():
        subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "link", "add", "mc0", "netns", names["controller"], "type", "veth", "peer", "name", "mn0", "netns", names["node"]], check=True)
    for name, card, address in ((names["controller"], "mc0", CONTROLLER.address), (names["node"], "mn0", NODE.address)):
        subprocess.run(["ip", "-n", name, "address", "add", f"{address}/24", "dev", card], check=True)
        subprocess.run(["ip", "-n", name, "link", "set", card, "up"], check=True)
    yield names
    for name in names.values():
        subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.fixture
def homes() -> Iterator[Path]:
    """A short path that chrony's user may pass through, as a home is."""
    folder = Path(tempfile.mkdtemp(prefix="moln-t-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.engines
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("chronyd", path="/usr/sbin:/usr/bin") is None, reason="needs root and chrony")
def test_a_node_in_a_namespace_knows_how_far_it_is_off_and_adjusts_nothing(namespaces: dict[str, str], homes: Path) -> None:
    """The node is told that its source is 700 ms ahead; the machine's clock, which both have, stays as it is."""
    running = []
    began = time.time() - time.monotonic()
    try:
        for machine, more in ((CONTROLLER, []), (NODE, ["offset 0.7"])):
            home = homes / machine.role
            folder = home / "host/chrony"
            folder.mkdir(parents=True)
            program = "\n".join([
                "import json, sys, msgspec", "from pathlib import Path", "from moln.host import chrony", "from moln.host.places import Places",
                "from moln.host.roles import Machine", "machine = msgspec.json.decode(sys.argv[2], type=Machine)", "places = Places(Path(sys.argv[1]))",
                "print(json.dumps(chrony.engines(places, machine)[0].argv))",
            ])  # fmt: skip
            inside = ["ip", "netns", "exec", namespaces[machine.role]]
            said = subprocess.run([*inside, sys.executable, "-c", program, str(home), msgspec.json.encode(machine)], check=True, capture_output=True,
                                  env={**os.environ, "PYTHONPATH": "src"})  # fmt: skip
            argv = [f"{word} {' '.join(more)}".strip() if word.startswith("server ") else word for word in json.loads(said.stdout)]
            assert "-x" in argv
            running.append(subprocess.Popen([*inside, *argv]))
        ends = time.monotonic() + 60
        while (off := clock.by_chrony(str(homes / "node"))) is None:
            assert time.monotonic() < ends and all(process.poll() is None for process in running)
            time.sleep(0.2)
        assert 650 < off < 750
        assert clock.by_chrony(str(homes / "controller")) == 0
        assert abs(time.time() - time.monotonic() - began) < 0.3
    finally:
        for process in running:
            process.terminate()
            process.wait(10)


def test_a_number_that_another_process_has_by_now_keeps_no_chronyd_down(tmp_path: Path) -> None:
    file = tmp_path / "chronyd.pid"
    for number, comm, stays in (("7", "chronyd", True), ("8", "postgres", False), ("9", "", False)):
        if comm:
            (tmp_path / number).mkdir()
            (tmp_path / number / "comm").write_text(f"{comm}\n")
        file.write_text(f"{number}\n")
        chrony._forget_dead(file, tmp_path)
        assert file.exists() == stays, comm
    chrony._forget_dead(file, tmp_path)
