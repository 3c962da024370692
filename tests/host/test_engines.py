"""The real engines on this machine, in a network namespace of the test's own: up, kill -9 of each, down with a guest, purge."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.node.turns import shared_stays

from moln.host import packages
from moln.host.places import PACKAGE_ROOT, Places
from moln.host.setup import install_packages
from moln.host.steps import Silent
from moln.host.supervise.processes import Identity

pytestmark = [pytest.mark.engines, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
NETNS = f"moln-test-{os.getpid()}"  # not what a killed run left
ENGINES = ["ovsdb-nb", "ovsdb-sb", "ovn-northd", "ovsdb-vswitch", "ovs-vswitchd", "ovn-controller", "virtlogd",
           "libvirtd"]
GUEST = """<domain type='qemu'><name>g1</name><uuid>11111111-1111-4111-8111-111111111111</uuid>
<memory unit='MiB'>32</memory><vcpu>1</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os><devices>
<emulator>/usr/bin/qemu-system-x86_64</emulator><interface type='bridge'><source bridge='moln-int'/>
<mac address='02:00:00:00:00:12'/><virtualport type='openvswitch'>
<parameters interfaceid='22222222-2222-4222-8222-222222222222'/></virtualport><model type='virtio'/></interface>
</devices></domain>"""


class Machine:
    """A home and a network namespace."""

    def __init__(self, home: Path) -> None:
        self.places = Places(home)
        self.inside = ["nsenter", f"--net=/run/netns/{NETNS}"]
        self.forwarded = self.forward()

    def run(self, *argv: str) -> str:
        done = subprocess.run([*self.inside, *argv], capture_output=True, text=True, timeout=180, check=False,
                              env={**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)})
        assert done.returncode == 0, done.stderr
        return done.stdout

    def engines(self, do: str) -> str:
        return self.run(sys.executable, "-m", "moln.host.engines", do, "--home", str(self.places.home), "--pool-gib", "1")

    def pid(self, name: str) -> int:
        found = Identity.read(self.places.supervised / f"{name}.pid")
        return found.pid if found and found.alive() and (found.ready or name not in ENGINES) else 0

    def pids(self) -> dict[str, int]:
        return {name: self.pid(name) for name in [*ENGINES, "guardian", "supervisor"]}

    def forward(self) -> str:
        return self.run("cat", "/proc/sys/net/ipv4/ip_forward")

    def links(self) -> set[str]:
        return {link["ifname"] for link in json.loads(self.run("ip", "-j", "link"))}


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    home = Path(tempfile.mkdtemp(prefix="moln-e-", dir="/var/tmp"))
    home.chmod(0o755)
    for folder in ("log", "host"):
        (home / folder).mkdir()
    with shared_stays(home):
        install_packages(packages.here(), Places(home), Silent())
        subprocess.run(["ip", "netns", "add", NETNS], check=True, timeout=10)
        subprocess.run(["ip", "-n", NETNS, "link", "set", "lo", "up"], check=True, timeout=10)
        found = Machine(home / "h")
        try:
            found.engines("up")
            yield found
        finally:
            found.engines("purge")
            subprocess.run(["ip", "netns", "delete", NETNS], check=True, timeout=10)
    shutil.rmtree(home)


def until(what: Callable[[], object], timeout_s: float = 40) -> None:
    ends = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.05)


def test_a_second_up_changes_nothing(machine: Machine) -> None:
    before = machine.pids()
    assert all(before.values())
    machine.engines("up")
    assert machine.pids() == before


def test_this_host_is_a_chassis_and_reaches_its_gateway(machine: Machine) -> None:
    shown = machine.run(str(machine.places.bin / "ovn-sbctl"), "show")
    assert shown.count("Chassis") == 1
    machine.run("ping", "-c1", "-W2", "172.24.4.1")
    routes = machine.run("ip", "route")
    assert "blackhole 172.24.4.0/24" in routes


def test_the_controllers_user_reaches_ovn_and_nothing_else(machine: Machine) -> None:
    places = machine.places
    script = f"test -w {places.nb_socket} && test -w {places.sb_socket} && test -w {places.run} && test -w {places.home}"
    as_user = ["setpriv", "--reuid=moln", "--regid=moln", "--init-groups", "/bin/sh", "-c"]
    machine.run(*as_user, script)
    for closed in (places.ovs_socket, places.libvirt_socket, places.supervisor_socket, places.plan):
        machine.run(*as_user, f"! test -r {closed} && ! test -w {closed}")
    machine.run(*as_user, f"! mv {places.host} {places.home}/elsewhere 2>/dev/null")


@pytest.mark.parametrize("name", [*ENGINES, "supervisor", "guardian"])
def test_each_process_comes_back_from_kill_9_alone(machine: Machine, name: str) -> None:
    before = machine.pids()
    os.kill(before[name], signal.SIGKILL)
    until(lambda: machine.pid(name) not in (0, before[name]))
    until(lambda: all(machine.pids().values()))
    after = machine.pids()
    changed = {n for n in after if after[n] != before[n]}
    assert changed == ({"guardian", "supervisor"} if name == "guardian" else {name})
    machine.run(str(machine.places.bin / "ovs-vsctl"), "--timeout=10", "list-ports", "moln-ex")


def test_a_guest_outlives_down_and_is_found_again(machine: Machine, tmp_path: Path) -> None:
    import libvirt

    def domain() -> libvirt.virDomain:
        return libvirt.open(machine.places.libvirt_uri).lookupByName("g1")

    libvirt.open(machine.places.libvirt_uri).defineXML(GUEST).createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    pid_file = machine.places.libvirt / "run/qemu/g1.pid"
    pid, vswitchd = int(pid_file.read_text()), machine.pid("ovs-vswitchd")
    machine.engines("down")
    assert Path(f"/proc/{pid}/cwd").exists()
    assert machine.pid("ovs-vswitchd") == vswitchd
    assert not machine.pid("libvirtd") and not machine.pid("ovsdb-nb")
    machine.engines("up")
    assert domain().isActive()
    assert int(pid_file.read_text()) == pid
    assert machine.pid("ovs-vswitchd") == vswitchd


def test_purge_leaves_nothing(machine: Machine) -> None:
    home = str(machine.places.home)
    machine.run("ip", "tuntap", "add", "tap-left", "mode", "tap")      # persistent, as a node makes a guest's
    machine.run(str(machine.places.bin / "ovs-vsctl"), "--timeout=10", "add-port", "moln-int", "tap-left", "--",
                "set", "interface", "tap-left", "external_ids:iface-id=left")
    machine.engines("purge")
    assert not machine.places.home.exists()
    assert home not in Path("/proc/mounts").read_text()
    assert home not in subprocess.run(["losetup", "-a"], capture_output=True, text=True, timeout=10).stdout
    assert machine.links() == {"lo"}
    assert machine.run("ip", "route") == ""
    assert "moln" not in machine.run("nft", "list", "tables")
    assert machine.forward() == machine.forwarded
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        assert home not in command, command
