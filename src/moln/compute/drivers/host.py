"""What this host has: from libvirt where libvirt knows, else from the kernel. All of it blocks."""

from __future__ import annotations

import fcntl
import os
import socket
from xml.etree.ElementTree import fromstring

import libvirt

from moln.compute.drivers.disks import Room
from moln.compute.model.facts import HostFacts

KVM_GET_API_VERSION = 0xAE00  # linux/kvm.h
KVM_API = 12


def kvm_works(device: str = "/dev/kvm", cpuinfo: str = "/proc/cpuinfo") -> bool:
    """Whether guests can use hardware. The device alone proves nothing: it exists where the CPU lacks vmx and svm."""
    try:
        with open(cpuinfo) as info:
            flags = next((line for line in info if line.startswith("flags")), "").split()
        if os.uname().machine == "x86_64" and not {"vmx", "svm"} & set(flags):
            return False
        fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return fcntl.ioctl(fd, KVM_GET_API_VERSION) == KVM_API
    except OSError:
        return False
    finally:
        os.close(fd)


def facts(connection: libvirt.virConnect, hostname: str, accelerated: bool, room: Room) -> HostFacts:
    """Look now. room: for disks."""
    total, available = _memory_mib()
    info = connection.getInfo()
    return HostFacts(
        hostname=hostname or socket.gethostname(),
        hypervisor_type=connection.getType(),
        version=connection.getVersion(),
        arch=info[0],
        vcpus=os.cpu_count() or 1,
        ram_mib=total,
        ram_used_mib=total - available,
        disk_gib=room.total_gib,
        disk_free_gib=room.free_gib,
        cpu_info=_cpu(connection),
        accelerated=accelerated,
        uptime_s=_uptime_s(),
        load=os.getloadavg(),
        reflink=room.reflink,
        shared_disks=room.shared,
    )


def _memory_mib() -> tuple[int, int]:
    with open("/proc/meminfo") as info:
        values = {line.split(":")[0]: int(line.split()[1]) for line in info if "kB" in line}
    return values["MemTotal"] // 1024, values["MemAvailable"] // 1024


def _uptime_s() -> int:
    with open("/proc/uptime") as uptime:
        return int(float(uptime.read().split()[0]))


def _cpu(connection: libvirt.virConnect) -> dict[str, object]:
    cpu = fromstring(connection.getCapabilities()).find("host/cpu")
    if cpu is None:
        return {}
    topology = cpu.find("topology")
    return {
        "arch": cpu.findtext("arch", ""),
        "model": cpu.findtext("model", ""),
        "vendor": cpu.findtext("vendor", ""),
        "topology": {key: int(value) for key, value in topology.attrib.items()} if topology is not None else {},
        "features": sorted(feature.get("name", "") for feature in cpu.iterfind("feature")),
    }
