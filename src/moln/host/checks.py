"""What `moln doctor` asks of the host. Each check says what is, and how to mend what is not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from moln.host import clock, pool, unit
from moln.host.ovs import kernel_has_openvswitch
from moln.host.places import Places
from moln.host.processes import Choices

GIB = 1 << 30
CLOCK_MS = 50  # a machine that is alone judges itself strictly; compute.clock_limit_ms is for nodes


class Finding(Struct, frozen=True):
    """level: `ok`, `note` (works, but slower or less) or `bad`. mend: what to do; empty when all is well."""

    name: str
    level: str
    text: str
    mend: str = ""


def cpu_has_virtualisation(cpuinfo: str) -> bool:
    return any(flag in line.split() for line in cpuinfo.splitlines() if line.startswith("flags")
               for flag in ("vmx", "svm"))


def kvm_usable() -> bool:
    """Both the CPU's flag and a device that opens: either alone is a machine on which guests hang."""
    if not cpu_has_virtualisation(Path("/proc/cpuinfo").read_text()):
        return False
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def check_kvm(places: Places) -> Finding:
    if kvm_usable():
        return Finding("kvm", "ok", "the CPU runs guests itself")
    if not cpu_has_virtualisation(Path("/proc/cpuinfo").read_text()):
        return Finding("kvm", "note", "the CPU shows no vmx or svm; guests are emulated, about 10 times slower",
                       "enable VT-x or AMD-V in the firmware; inside a virtual machine, nested virtualisation")
    return Finding("kvm", "note", "/dev/kvm does not open; guests are emulated, about 10 times slower",
                   "modprobe kvm_intel (or kvm_amd), and run as root or in group kvm")


def check_openvswitch(places: Places) -> Finding:
    if kernel_has_openvswitch():
        return Finding("openvswitch", "ok", "in the kernel")
    return Finding("openvswitch", "note", "not in the kernel; frames are forwarded in user space, at some 300 Mbit/s",
                   "use the distribution's stock kernel, which has the module openvswitch")


def check_disk(places: Places) -> Finding:
    folder = next(p for p in (places.home, *places.home.parents) if p.exists())
    usage = shutil.disk_usage(folder)
    text = f"{usage.free / GIB:.0f} of {usage.total / GIB:.0f} GiB free on {folder}"
    if usage.free < 2 * GIB:
        return Finding("disk", "bad", text, "free some space, or choose another --home")
    return Finding("disk", "note" if usage.free < 10 * GIB else "ok", text)


def check_reflink(places: Places) -> Finding:
    if not places.pool.is_dir():
        return Finding("reflink", "note", "there is no pool yet", "moln up makes it")
    if not os.access(places.pool, os.W_OK):
        return Finding("reflink", "note", "only root can try it", "sudo moln doctor")
    if pool.can_reflink(places.pool):
        return Finding("reflink", "ok", f"{places.pool}: {pool.describe(places)}")
    if simulated(places):
        return Finding("reflink", "note", f"{places.pool} copies every image in full, which is enough for a simulated cloud")
    return Finding("reflink", "bad", f"{places.pool} copies every image in full",
                   "moln down, then moln up: it mounts a file system that can")


def simulated(places: Places) -> bool:
    """Whether `moln up --simulate` made the cloud: no guest's disk is in its pool, and it mounts nothing."""
    return places.choices.exists() and msgspec.json.decode(places.choices.read_bytes(), type=Choices).simulate


def check_clock(places: Places) -> Finding:
    """By chrony, or by what the kernel was told."""
    off, by = clock.by_chrony(str(places.home)), "chrony"
    if off is None:
        off, by = clock.by_kernel(), "the kernel's estimate"
    if off is None:
        return Finding("clock", "note", "nothing here says that it is kept", "install chrony")
    if off > CLOCK_MS:
        return Finding("clock", "bad", f"{off:.0f} ms off, by {by}", "chronyc makestep")
    return Finding("clock", "ok", f"{off:.3f} ms off, by {by}")


def check_boot(places: Places) -> Finding:
    """Whether the cloud is there again when the machine is."""
    if not unit.serves(places):
        mend = "moln install" if unit.BOOTED.is_dir() else "have whatever starts services here run `moln up --detach`"
        return Finding("boot", "note", "the cloud does not start with the machine", mend)
    if unit.failed():
        return Finding("boot", "bad", f"{unit.NAME} failed", f"journalctl -u {unit.NAME}, then moln up")
    return Finding("boot", "ok", f"systemd starts {unit.NAME} with the machine")


HOST_CHECKS: list[Callable[[Places], Finding]] = [check_kvm, check_openvswitch, check_disk, check_reflink, check_clock, check_boot]
