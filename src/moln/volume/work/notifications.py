"""What others are told of volumes, snapshots and attachments, by Cinder's names. Metadata and connections are left out."""

from __future__ import annotations

from moln.kernel.clock import iso
from moln.kernel.db import Reader
from moln.kernel.notifications.events import Event, Kind, of_rows, plain
from moln.volume.model.attachments import Attachment, AttachStatus
from moln.volume.model.snapshots import Snapshot
from moln.volume.model.volumes import Volume, VolumeStatus
from moln.volume.store.snapshots import snapshots
from moln.volume.store.tables import attachments, volumes
from moln.volume.store.volumes import find

V, A = VolumeStatus, AttachStatus


async def tell_volume(reader: Reader, before: Volume | None, after: Volume | None) -> list[Event]:
    if after is None:
        assert before is not None
        return [_volume("volume.delete.end", before)]
    if before is None:
        return [_volume("volume.create.start", after)]
    old, new, told = before.status, after.status, []
    if old is not new and old is V.CREATING and new in (V.AVAILABLE, V.RESERVED, V.IN_USE):
        told.append(_volume("volume.create.end", after))
    if old is not new and new is V.DELETING:
        told.append(_volume("volume.delete.start", after))
    if old is not new and new is V.EXTENDING:
        told.append(_volume("volume.resize.start", after))
    if old is V.EXTENDING and before.size_gib != after.size_gib:
        told.append(_volume("volume.resize.end", after))
    if (before.name, before.description, before.metadata) != (after.name, after.description, after.metadata):
        told.append(_volume("volume.update.end", after))
    return told


async def tell_snapshot(reader: Reader, before: Snapshot | None, after: Snapshot | None) -> list[Event]:
    row = after or before
    assert row is not None
    step = "create.start"
    if after is None:
        step = "delete.end"
    elif before is not None:
        steps = {("creating", "available"): "create.end", ("available", "deleting"): "delete.start", ("error", "deleting"): "delete.start"}
        step = steps.get((before.status, after.status), "")
    data = plain(row, "status", "volume_id", "user_id", tenant_id=row.project_id, snapshot_id=row.id, display_name=row.name, created_at=iso(row.created_at))
    return [Event(f"snapshot.{step}", "SnapshotPayload", data)] if step else []


async def tell_attachment(reader: Reader, before: Attachment | None, after: Attachment | None) -> list[Event]:
    """A volume that is reserved only is neither attached nor detached."""
    row = after or before
    assert row is not None
    old, new = before.status if before else A.RESERVED, after.status if after else A.RESERVED
    steps = {(A.RESERVED, A.ATTACHING): "attach.start", (A.RESERVED, A.ATTACHED): "attach.end", (A.ATTACHING, A.ATTACHED): "attach.end",
             (A.ATTACHED, A.DETACHING): "detach.start", (A.ATTACHED, A.RESERVED): "detach.end", (A.DETACHING, A.RESERVED): "detach.end"}  # fmt: skip
    step = steps.get((old, new))
    volume = await find(reader, row.volume_id) if step else None
    held = plain(row, "id", "server_id", "mode", "device")
    return [_volume(f"volume.{step}", volume, attachment={**held, "attach_status": new})] if volume is not None else []


def _volume(event_type: str, volume: Volume, **more: object) -> Event:
    data = plain(volume, "status", "user_id", "host", "bootable", "availability_zone", tenant_id=volume.project_id, volume_id=volume.id,
                 display_name=volume.name, size=volume.size_gib, volume_type=volume.volume_type_id, created_at=iso(volume.created_at), **more)  # fmt: skip
    return Event(event_type, "VolumePayload", data, volume.host)


KINDS = (
    Kind(volumes, of_rows(Volume, volumes), tell_volume, "volume", "volume"),
    Kind(snapshots, of_rows(Snapshot, snapshots), tell_snapshot, "volume", "snapshot"),
    Kind(attachments, of_rows(Attachment, attachments), tell_attachment, "volume", "volume"),
)
