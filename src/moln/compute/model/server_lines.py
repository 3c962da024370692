"""Servers as lists show them: rows whose parts are not decoded."""

from __future__ import annotations

from msgspec import Struct

from moln.compute.model.servers import Attached, Fault, Nic


class Line(Struct, frozen=True, gc=False):
    """A server's row as lists show it: what is JSON on the wire stays the text that it is in the row.

    groups, attached: `security_groups` and `os-extended-volumes:volumes_attached`. Times: µs UTC.
    """

    id: str
    project_id: str
    user_id: str
    name: str
    hostname: str
    vm_state: str
    task_state: str | None
    created_at: int
    updated_at: int
    flavor_id: str
    flavor: str
    description: str | None
    power_state: int
    host: str | None
    az: str
    pinned_az: str | None
    image_id: str | None
    image_properties: str
    key_name: str | None
    config_drive: int
    metadata: str
    tags: str
    locked: bool
    locked_reason: str | None
    access_ip_v4: str | None
    access_ip_v6: str | None
    disk_config: str
    reservation_id: str
    launch_index: int
    root_device: str | None
    scheduler_hints: str
    launched_at: int | None
    terminated_at: int | None
    fault: Fault | None
    addresses: str
    groups: str
    attached: str
    has_user_data: int


class GroupRef(Struct, frozen=True, gc=False):
    """A security group on the wire."""

    name: str


class VolumeRef(Struct, frozen=True, gc=False):
    """An attached volume on the wire (2.3)."""

    id: str
    delete_on_termination: bool


def groups_of(nics: tuple[Nic, ...]) -> list[GroupRef]:
    """`security_groups` on the wire."""
    return [GroupRef(g) for g in dict.fromkeys(g for n in nics for g in n.groups)]


def volumes_of(volumes: tuple[Attached, ...]) -> list[VolumeRef]:
    """`os-extended-volumes:volumes_attached` on the wire."""
    return [VolumeRef(v.volume_id, v.delete_on_termination) for v in volumes]
