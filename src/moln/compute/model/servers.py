"""Servers: what one is, the states it can be in, and how they look from outside (compute v2.1 api-ref, "Servers")."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any

from msgspec import Struct

from moln.compute.model.moves import Move
from moln.compute.model.server_rescue import Rescue
from moln.kernel.errors import Forbidden

MOST_USER_DATA = 65535  # bytes of base64
MOST_TAGS = 50
LETTERS = "abcdefghijklmnopqrstuvwxyz"  # of devices
DISK_CONFIGS = ("AUTO", "MANUAL")


class VmState(StrEnum):
    """What a server settles in."""

    BUILDING, ACTIVE, PAUSED, STOPPED, ERROR, DELETED = "building", "active", "paused", "stopped", "error", "deleted"
    SUSPENDED, RESCUED, SHELVED, SHELVED_OFFLOADED = "suspended", "rescued", "shelved", "shelved_offloaded"
    RESIZED = "resized"


class TaskState(StrEnum):
    """What is being done to it; none where it is as it should be."""

    SCHEDULING = "scheduling"
    MAPPING = "block_device_mapping"
    NETWORKING = "networking"
    SPAWNING = "spawning"
    POWERING_OFF = "powering-off"
    POWERING_ON = "powering-on"
    REBOOTING = "rebooting"
    REBOOT_STARTED = "reboot_started"
    REBOOTING_HARD = "rebooting_hard"
    REBOOT_STARTED_HARD = "reboot_started_hard"
    PAUSING = "pausing"
    UNPAUSING = "unpausing"
    SUSPENDING = "suspending"
    RESUMING = "resuming"
    RESCUING = "rescuing"
    UNRESCUING = "unrescuing"
    SHELVING = "shelving"
    SHELVING_IMAGE_UPLOADING = "shelving_image_uploading"
    SHELVING_OFFLOADING = "shelving_offloading"
    UNSHELVING = "unshelving"
    IMAGE_SNAPSHOT = "image_snapshot"
    IMAGE_BACKUP = "image_backup"
    REBUILDING = "rebuilding"
    REBUILD_MAPPING = "rebuild_block_device_mapping"
    RESIZE_PREP = "resize_prep"
    RESIZE_MIGRATING = "resize_migrating"
    RESIZE_FINISH = "resize_finish"
    RESIZE_REVERTING = "resize_reverting"
    RESIZE_CONFIRMING = "resize_confirming"
    MIGRATING = "migrating"
    DELETING = "deleting"


class PowerState(IntEnum):
    """What the hypervisor says, in Nova's numbers."""

    NOSTATE, RUNNING, PAUSED, SHUTDOWN, CRASHED = 0, 1, 3, 4, 6


BUILD_TASKS = frozenset({TaskState.SCHEDULING, TaskState.MAPPING, TaskState.NETWORKING, TaskState.SPAWNING})
SOFT_REBOOTS = frozenset({TaskState.REBOOTING, TaskState.REBOOT_STARTED})
HARD_REBOOTS = frozenset({TaskState.REBOOTING_HARD, TaskState.REBOOT_STARTED_HARD})
IMAGE_TASKS = frozenset({TaskState.IMAGE_SNAPSHOT, TaskState.IMAGE_BACKUP})
REBUILDS = frozenset({TaskState.REBUILDING, TaskState.REBUILD_MAPPING})
RESIZING = frozenset({TaskState.RESIZE_PREP, TaskState.RESIZE_MIGRATING, TaskState.RESIZE_FINISH})
RESIZE_TASKS = RESIZING | {TaskState.RESIZE_REVERTING, TaskState.RESIZE_CONFIRMING}

STATUSES: dict[tuple[str, str | None], str] = {  # `status` by (vm_state, task_state), then by vm_state alone
    **{(VmState.ACTIVE, t): "REBOOT" for t in SOFT_REBOOTS},
    **{(VmState.ACTIVE, t): "HARD_REBOOT" for t in HARD_REBOOTS},
    **{(v, t): "RESIZE" for v in (VmState.ACTIVE, VmState.STOPPED) for t in RESIZING},
    **{(v, t): "REBUILD" for v in (VmState.ACTIVE, VmState.STOPPED, VmState.ERROR) for t in REBUILDS},
    (VmState.RESIZED, TaskState.RESIZE_REVERTING): "REVERT_RESIZE",
    **{(v, TaskState.MIGRATING): "MIGRATING" for v in (VmState.ACTIVE, VmState.PAUSED)},
}  # fmt: skip
SETTLED: dict[str, str] = {
    VmState.BUILDING: "BUILD", VmState.ACTIVE: "ACTIVE", VmState.PAUSED: "PAUSED", VmState.STOPPED: "SHUTOFF",
    VmState.ERROR: "ERROR", VmState.DELETED: "DELETED", VmState.RESIZED: "VERIFY_RESIZE",
    VmState.SUSPENDED: "SUSPENDED", VmState.RESCUED: "RESCUE",
    VmState.SHELVED: "SHELVED", VmState.SHELVED_OFFLOADED: "SHELVED_OFFLOADED",
}  # fmt: skip
OTHER_STATUSES = frozenset({  # Nova's, for states we never enter: a filter by them finds nothing
    "PASSWORD", "SOFT_DELETED",
})  # fmt: skip
WITH_PROGRESS = frozenset({"ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "MIGRATING"})


class Flavor(Struct, frozen=True, gc=False):
    """The flavor as it was when the server was made, on the wire as it is (2.47). ram: MiB; disk, ephemeral: GiB; swap: MiB."""

    vcpus: int
    ram: int
    disk: int
    ephemeral: int
    swap: int
    original_name: str
    extra_specs: dict[str, str] = {}


class Address(Struct, frozen=True, gc=False):
    """One address of a card. floating: those of floating IPs that stand for it."""

    ip: str
    subnet_id: str
    version: int
    floating: tuple[str, ...] = ()


class Nic(Struct, frozen=True, gc=False):
    """A port as the server knows it. created: we made the port, and it goes with the server. state: attached, attaching or detaching."""

    port_id: str
    network_id: str
    label: str
    mac: str
    mtu: int = 0
    addresses: tuple[Address, ...] = ()
    groups: tuple[str, ...] = ()
    tag: str | None = None
    created: bool = True
    active: bool = False
    state: str = "attached"


class DiskKind(StrEnum):
    ROOT, EPHEMERAL, SWAP = "root", "ephemeral", "swap"


class LocalDisk(Struct, frozen=True, gc=False):
    """A disk that lives and dies with the server. image: the name of the base it begins as."""

    id: str
    kind: DiskKind
    device: str
    size_gib: int
    image: str | None = None
    boot_index: int | None = None


class Resize(Struct, frozen=True, gc=False):
    """The two flavors of a server whose resize is neither confirmed nor reverted. migration_id: whose claim holds the old one's share.

    copies: of the disks that both have, as they were before, by disk. was: what the server returns to. finished: it may be confirmed;
    confirming: there is no way back. failed: why it is being undone. source, dest: the hosts before and after, the same where it stays;
    a server that moves has no copies, for its source keeps its disks, unless both hosts reach them in the same place.
    """

    migration_id: str
    old_flavor_id: str
    old_flavor: Flavor
    new_flavor_id: str
    new_flavor: Flavor
    old_disks: tuple[LocalDisk, ...]
    new_disks: tuple[LocalDisk, ...]
    copies: dict[str, str]
    was: VmState
    finished: bool = False
    confirming: bool = False
    failed: str | None = None
    source: str = ""
    dest: str = ""

    @property
    def moves(self) -> bool:
        return self.source != self.dest

    @property
    def action(self) -> str:
        """What its owner asked for: a migration keeps the flavor."""
        return "migrate" if self.old_flavor_id == self.new_flavor_id else "resize"


class Attached(Struct, frozen=True, gc=False):
    """A volume as the server knows it. device: `/dev/vdb`. state: attached, attaching or detaching. serial: what the guest reads."""

    volume_id: str
    attachment_id: str
    device: str
    bdm_id: str
    boot_index: int | None = None
    delete_on_termination: bool = False
    tag: str | None = None
    state: str = "attached"


class Fault(Struct, frozen=True, gc=False):
    """Why a server is in ERROR. details: for administrators. created_at: µs UTC."""

    code: int
    message: str
    created_at: int
    details: str = ""


class FixedAddress(Struct, frozen=True, gc=False, rename={"type_": "OS-EXT-IPS:type", "mac": "OS-EXT-IPS-MAC:mac_addr"}):
    """An address on the wire."""

    version: int
    addr: str
    type_: str
    mac: str


class Server(Struct, frozen=True, kw_only=True):
    """A virtual machine owned by one project; Line is how it is shown.

    host: the node it was claimed on; None when no host was found, or when it is offloaded. unsettled: something is still to be done. deadline: µs UTC by
    which it is done or the server is in ERROR. snapshot: the image that is being made of it; rotation: how many backups to keep.
    leaving: ids of disks that it no longer uses and its host still holds. generation: raised by each write; a write names the one it read.
    addresses: `addresses` on the wire. nics, disks, volumes: what the reconciler works from. Times: µs UTC.
    other_host: where else something of it is: the host that it moves to, or came from and may return to.
    rescue: what it boots from while it is rescued. shelved_image: the image that its root disk is in while it is shelved, or becomes.
    """

    id: str
    project_id: str
    user_id: str
    name: str
    hostname: str
    vm_state: VmState
    created_at: int
    updated_at: int
    flavor_id: str
    flavor: Flavor
    description: str | None = None
    task_state: TaskState | None = None
    power_state: int = PowerState.NOSTATE
    host: str | None = None
    az: str = ""
    pinned_az: str | None = None
    image_id: str | None = None
    image_properties: dict[str, str] = {}
    key_name: str | None = None
    key_data: str | None = None
    config_drive: bool = False
    metadata: dict[str, str] = {}
    tags: tuple[str, ...] = ()
    locked: bool = False
    locked_by: str | None = None
    locked_reason: str | None = None
    access_ip_v4: str | None = None
    access_ip_v6: str | None = None
    disk_config: str = "MANUAL"
    reservation_id: str = ""
    launch_index: int = 0
    root_device: str | None = None
    scheduler_hints: dict[str, Any] = {}
    launched_at: int | None = None
    terminated_at: int | None = None
    fault: Fault | None = None
    addresses: dict[str, list[FixedAddress]] = {}
    nics: tuple[Nic, ...] = ()
    disks: tuple[LocalDisk, ...] = ()
    volumes: tuple[Attached, ...] = ()
    snapshot: str | None = None
    rescue: Rescue | None = None
    shelved_image: str | None = None
    rotation: int | None = None
    resize: Resize | None = None
    move: Move | None = None
    other_host: str | None = None
    leaving: tuple[str, ...] = ()
    unsettled: bool = True
    deadline: int | None = None
    generation: int = 1

    @property
    def status(self) -> str:
        return status_of(self.vm_state, self.task_state)

    @property
    def pending(self) -> bool:
        """Whether something is still to be done. What failed waits for its owner."""
        if self.task_state is not None or self.vm_state is VmState.BUILDING or self.move is not None:
            return True
        states = [v.state for v in self.volumes] + [n.state for n in self.nics]
        return self.vm_state is not VmState.ERROR and any(state != "attached" for state in states)

    def volume(self, volume_id: str) -> Attached | None:
        return next((v for v in self.volumes if v.volume_id == volume_id), None)

    def nic(self, port_id: str) -> Nic | None:
        return next((n for n in self.nics if n.port_id == port_id), None)

    @property
    def disk_ids(self) -> tuple[str, ...]:
        """Every disk of it that may lie on its host."""
        held = self.resize
        others = (*(d.id for d in held.old_disks + held.new_disks), *held.copies.values()) if held is not None else ()
        rescue = self.rescue.disk_ids if self.rescue else ()
        return tuple(dict.fromkeys((*(d.id for d in self.disks), *self.leaving, *others, *rescue)))

    @property
    def root_disk(self) -> LocalDisk | None:
        """None when it boots from a volume."""
        return next((d for d in self.disks if d.kind is DiskKind.ROOT), None)

    @property
    def charged(self) -> dict[str, int]:
        """What of its project's quota it takes: of two flavors the larger, so that a resize can always be reverted."""
        flavors = [self.flavor] + ([self.resize.old_flavor, self.resize.new_flavor] if self.resize else [])
        return {"instances": 1, "cores": max(f.vcpus for f in flavors), "ram": max(f.ram for f in flavors)}

    @property
    def attached_nics(self) -> tuple[Nic, ...]:
        return tuple(n for n in self.nics if n.state != "detaching")


def status_of(vm_state: str, task_state: str | None) -> str:
    """What clients see as `status`."""
    return STATUSES.get((vm_state, task_state)) or SETTLED[vm_state]


def states_of(statuses: list[str]) -> tuple[set[VmState], set[str] | None] | None:
    """(vm_states, task_states or None for any) that show as one of these statuses; None when no server ever does."""
    asked = {s.upper() for s in statuses}
    vm = {VmState(v) for v, s in SETTLED.items() if s in asked}
    pairs = [(VmState(v), t) for (v, t), s in STATUSES.items() if s in asked]
    if vm:
        return vm | {v for v, _ in pairs}, None
    if pairs:
        return {v for v, _ in pairs}, {str(t) for _, t in pairs}
    return None


def addresses_of(nics: tuple[Nic, ...]) -> dict[str, list[FixedAddress]]:
    """`addresses` on the wire, by network name."""
    found: dict[str, list[FixedAddress]] = {}
    for nic in nics:
        if nic.state == "detaching":
            continue
        out = found.setdefault(nic.label, [])
        for address in nic.addresses:
            out.append(FixedAddress(address.version, address.ip, "fixed", nic.mac))
            out.extend(FixedAddress(4, floating, "floating", nic.mac) for floating in address.floating)
    return {label: out for label, out in found.items() if out}


def free_device(server_volumes: tuple[Attached, ...], disks: tuple[LocalDisk, ...]) -> str:
    """The first device name that is not taken: /dev/vda, /dev/vdb… Raises: Forbidden, when all are."""
    taken = {v.device for v in server_volumes} | {d.device for d in disks}
    for letter in LETTERS:
        if (name := f"/dev/vd{letter}") not in taken:
            return name
    raise Forbidden(
        f"The maximum allowed number of disk devices ({len(LETTERS)}) to attach to a single instance has been exceeded."
    )


__all__ = [
    "BUILD_TASKS", "DISK_CONFIGS", "HARD_REBOOTS", "IMAGE_TASKS", "MOST_TAGS", "MOST_USER_DATA", "OTHER_STATUSES", "REBUILDS", "RESIZE_TASKS", "RESIZING",
    "SETTLED", "SOFT_REBOOTS", "WITH_PROGRESS", "Address", "Attached", "DiskKind", "Fault", "FixedAddress", "Flavor", "LocalDisk", "Nic",
    "PowerState", "Rescue", "Resize", "Server",
    "TaskState", "VmState", "addresses_of", "free_device", "states_of", "status_of",
]  # fmt: skip
