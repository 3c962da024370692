"""kill -9 of any one process of the cloud while a guest runs: the guest goes on, all comes back by itself, nothing is doubled."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.guests import Guest
from tests.e2e.waiting import until
from tests.e2e.world import World, shell

from moln.host import control
from moln.host.supervise.processes import Identity

BACK_S = 60
ENGINES = ("ovsdb-nb", "ovsdb-sb", "ovsdb-vswitch", "ovn-northd", "ovs-vswitchd", "ovn-controller", "virtlogd", "libvirtd", "controller",
           "node")  # fmt: skip
VICTIMS = ("guardian", "supervisor", *ENGINES, "metadata proxy")
killed: list[str] = []


def proxies(world: World) -> list[int]:
    return [pid for pid, words in commands() if "moln.node.metadata_proxy" in words and str(world.places.home) in " ".join(words)]


def commands() -> list[tuple[int, list[str]]]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if words[0]:
            found.append((int(folder.name), words))
    return found


def pid_of(world: World, victim: str) -> int:
    if victim == "metadata proxy":
        (pid,) = proxies(world)
        return pid
    found = Identity.read(world.places.supervised / f"{victim}.pid")
    return found.pid if found and found.alive() else 0


def all_ready(world: World) -> bool:
    try:
        state = control.status(world.places)
    except (control.NotRunning, TimeoutError):
        return False
    return bool(control.all_ready(state)) and len(proxies(world)) == 1


def processes(world: World) -> Counter[str]:
    """How many of each of the cloud's processes there are: by program and home."""
    counted: Counter[str] = Counter()
    mine = f"MOLN_HOME={world.places.home}"
    for pid, words in commands():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        name = next((w for w in words if w.startswith("moln.")), None) or next(
            (Path(w).name for w in words if Path(w).name in PROGRAMS), None
        )
        if name and (str(world.places.home) in " ".join(words) or mine in environment):
            counted[name + (" " + words[-1] if name == "moln.host.supervise" else "")] += 1
    return counted


PROGRAMS = {"ovsdb-server", "ovs-vswitchd", "ovn-northd", "ovn-controller", "libvirtd", "virtlogd", "qemu-system-x86_64"}


def domains(world: World) -> list[str]:
    return shell("virsh", "-c", world.places.libvirt_uri, "list", "--all", "--name").split()


def nb_names(world: World) -> list[str]:
    """The northbound rows that a doubled writer would double."""
    nbctl = world.places.bin / "ovn-nbctl"
    return sorted(
        f"{table} {line}"
        for table, column in (("Logical_Switch", "name"), ("Logical_Switch_Port", "name"), ("Logical_Router", "name"),
                              ("Logical_Router_Port", "name"), ("NAT", "external_ip"), ("ACL", "match"), ("DHCP_Options", "cidr"),
                              ("Port_Group", "name"))
        for line in shell(nbctl, "--bare", f"--columns={column}", "list", table).splitlines()
        if line
    )  # fmt: skip


def switch_ports(world: World) -> list[str]:
    return sorted(shell(world.places.bin / "ovs-vsctl", "list-ports", "moln-int").split())


def census(world: World) -> dict[str, object]:
    return {"processes": processes(world), "domains": domains(world), "nb": nb_names(world), "ports": switch_ports(world)}


def settles(look: Callable[[], dict[str, object]], wanted: dict[str, object], timeout_s: float = 15) -> None:
    with contextlib.suppress(AssertionError):
        until(lambda: look() == wanted, "as before", timeout_s)
    assert look() == wanted


@pytest.mark.parametrize("victim", VICTIMS)
def test_the_guest_outlives_a_killed(world: World, demo: Guest, victim: str) -> None:
    if demo.status != "ACTIVE":
        demo.conn.compute.start_server(demo.id)
        demo.wait_status("ACTIVE")
    until(lambda: all_ready(world), "all run", BACK_S)
    boot, qemu = demo.wait().boot_id(), world.qemu_pid(demo.id)
    before = census(world)
    kill_and_wait(world, victim)
    assert world.qemu_pid(demo.id) == qemu, "the guest's QEMU died"
    until(demo.answers, "ssh works again", 60)
    assert demo.boot_id() == boot
    settles(lambda: census(world), before)
    until(lambda: demo.works("timeout 20 wget -q -O /dev/null http://169.254.169.254/openstack/latest/meta_data.json"), "metadata", 40)
    assert demo.status == "ACTIVE"
    world.healthy(40)


def pid_of_or_0(world: World, victim: str) -> int:
    try:
        return pid_of(world, victim)
    except ValueError:
        return 0


def kill(world: World, victim: str) -> int:
    pid = pid_of(world, victim)
    assert pid, f"{victim} does not run"
    os.kill(pid, signal.SIGKILL)
    killed.append(victim)
    return pid


def kill_and_wait(world: World, victim: str) -> None:
    """Until another one runs, and all is ready."""
    pid = kill(world, victim)
    until(lambda: pid_of_or_0(world, victim) not in (0, pid), f"another {victim}", BACK_S)
    until(lambda: all_ready(world), "all run again", BACK_S)


@pytest.mark.parametrize("victim", ["controller", "node", "libvirtd", "ovn-controller", "ovs-vswitchd", "ovsdb-vswitch", "ovsdb-nb"])
def test_a_boot_and_a_deletion_outlive_a_killed(world: World, demo: Guest, victim: str) -> None:
    """Killed as soon as the API has answered: what was promised comes true, and nothing is left over."""
    until(lambda: all_ready(world), "all run", BACK_S)
    before = census(world)
    network = world.admin.network.find_network("demo", ignore_missing=False)
    server = world.admin.compute.create_server(
        name=f"during-{victim}", image_id=world.image.id, flavor_id=world.flavor.id, networks=[{"uuid": network.id}]
    )
    kill_and_wait(world, victim)
    guest = Guest(world.admin, server.id, "", demo.key)
    guest.wait_status("ACTIVE")
    until(lambda: "GUEST: READY" in guest.console(), "the guest is ready", 180, each_s=0.5)
    assert "metadata source=http" in guest.console()
    world.admin.compute.delete_server(server.id)
    kill_and_wait(world, victim)
    guest.wait_gone()
    settles(lambda: census(world), before)


def test_guests_outlive_down_and_are_found_again_by_up(world: World, demo: Guest) -> None:
    boot, qemu, before = demo.wait().boot_id(), world.qemu_pid(demo.id), census(world)
    world.moln("down")
    assert world.qemu_pid(demo.id) == qemu
    assert demo.answers(), "its network goes on without a cloud"
    world.moln("up", "--detach")
    assert (world.qemu_pid(demo.id), demo.wait().boot_id()) == (qemu, boot)
    settles(lambda: census(world), before)
    assert demo.status == "ACTIVE"
    world.healthy(40)


def test_kills_were_made() -> None:
    print(f"{len(killed)} kills: {', '.join(killed)}")
    assert len(killed) > 0
