"""Hypervisors as compute keeps them, and what of them placement is told."""

from __future__ import annotations

from msgspec import Struct

from moln.compute.model.facts import HostFacts
from moln.compute.settings import ComputeSettings
from moln.placement.model.names import DISK_GB, MEMORY_MB, STANDARD_TRAITS, VCPU
from moln.placement.model.providers import Amounts

OFF = "COMPUTE_STATUS_DISABLED"  # the trait of a host that takes no new servers (Nova's name)

MAINTENANCE = "maintenance"  # how the reason of a host that is worked on begins


class ComputeHost(Struct, frozen=True):
    """A node that runs servers: Nova's compute node, service and host mapping in one row.

    id: the hypervisor's and its resource provider's. service_id: the compute service's. rowid: both, before microversion 2.53.
    name: the node id. Whether it is up is not kept: the links know. Times: µs UTC.
    """

    rowid: int
    id: str
    service_id: str
    name: str
    zone: str
    facts: HostFacts
    disabled: bool
    disabled_reason: str | None
    forced_down: bool
    created_at: int
    updated_at: int

    @property
    def maintenance(self) -> bool:
        """Whether somebody works on it: it takes no new servers, and nobody need be told what is wrong there."""
        return self.disabled and (self.disabled_reason or "").partition(":")[0] == MAINTENANCE


def lasting(facts: HostFacts) -> HostFacts:
    """Facts without what changes by the minute, so that a host seen again is the same row."""
    return HostFacts(
        facts.hostname, facts.hypervisor_type, facts.version, facts.arch, facts.vcpus, facts.ram_mib, 0, facts.disk_gib, 0,
        facts.cpu_info, facts.accelerated, 0, (0.0, 0.0, 0.0), facts.reflink,
        shared_disks=facts.shared_disks,
    )  # fmt: skip


def offer(facts: HostFacts, settings: ComputeSettings) -> dict[str, Amounts]:
    """The inventories of a host, as Nova's libvirt driver reports them; a class that it has none of is left out.

    A reserve that is as large as the host counts as what leaves one unit.
    """
    s = settings
    plan = (
        (VCPU, facts.vcpus, s.reserved_cpus, s.cpu_allocation_ratio),
        (MEMORY_MB, facts.ram_mib, s.reserved_ram_mib, s.ram_allocation_ratio),
        (DISK_GB, facts.disk_gib, s.reserved_disk_gib, s.disk_allocation_ratio),
    )
    return {
        name: Amounts(total=total, reserved=min(reserved, total - 1), max_unit=total, allocation_ratio=ratio)
        for name, total, reserved, ratio in plan if total > 0
    }  # fmt: skip


def hypervisors(facts: HostFacts) -> frozenset[str]:
    """What an image's `img_hv_type` may ask for there: QEMU emulates everywhere, and is KVM where the CPU helps."""
    kind = facts.hypervisor_type.lower()
    return frozenset({kind, "kvm"}) if kind == "qemu" and facts.accelerated else frozenset({kind})


def astray(facts: HostFacts, limit_ms: int) -> str:
    """How a host's clock is off by more than the limit; empty: it is not, or nobody says. limit_ms: 0 is none."""
    off = facts.clock_off_ms
    return f"{off:.0f} ms, {limit_ms} are allowed" if limit_ms and off is not None and off > limit_ms else ""


def traits(facts: HostFacts, *, disabled: bool) -> set[str]:
    """What placement may know of a host: that it runs servers, its architecture, its CPU's features."""
    wanted = {"COMPUTE_NODE", "COMPUTE_RESCUE_BFV", "OWNER_NOVA", "COMPUTE_NET_ATTACH_INTERFACE", "COMPUTE_VOLUME_ATTACH_WITH_TAG",
              "COMPUTE_IMAGE_TYPE_RAW", "COMPUTE_IMAGE_TYPE_QCOW2", f"HW_ARCH_{facts.arch.upper()}",
              f"COMPUTE_ARCH_{facts.arch.upper()}"}  # fmt: skip
    if disabled:
        wanted.add(OFF)
    features = facts.cpu_info.get("features") or []
    if isinstance(features, list):
        wanted |= {f"HW_CPU_X86_{str(f).upper().replace('.', '').replace('-', '_')}" for f in features}
    return wanted & STANDARD_TRAITS
