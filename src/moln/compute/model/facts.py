"""What a node says of itself as a hypervisor."""

from __future__ import annotations

from msgspec import Struct


class HostFacts(Struct, frozen=True):
    """What a hypervisor offers. vcpus: logical CPUs; ram_mib and disk_gib: in all; used_*: taken by anybody at all.

    version: an integer as Nova shows it (7.2.22 is 7002022). cpu_info: libvirt's model, vendor, topology and features.
    clock_off_ms: how far off its clock is; None, where nobody says. shared_disks: the name of the storage where servers' own disks lie, when other
    hosts reach it as well (the same name on each), "" when only this one does.
    """

    hostname: str
    hypervisor_type: str
    version: int
    arch: str
    vcpus: int
    ram_mib: int
    ram_used_mib: int
    disk_gib: int
    disk_free_gib: int
    cpu_info: dict[str, object]
    accelerated: bool
    uptime_s: int
    load: tuple[float, float, float]
    reflink: bool
    clock_off_ms: float | None = None
    shared_disks: str = ""
