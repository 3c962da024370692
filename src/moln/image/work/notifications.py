"""What others are told of images, by Glance's names. Properties and locations are left out: owners write what they like there."""

from __future__ import annotations

from moln.image.model.images import Image, ImageStatus
from moln.image.store.tables import images
from moln.kernel.clock import iso
from moln.kernel.db import Reader
from moln.kernel.notifications.events import Event, Kind, of_rows, plain

SHOWN = ("id", "name", "status", "visibility", "container_format", "disk_format", "min_disk", "min_ram", "size", "protected")
WRITTEN = ("project_id", "name", "visibility", "container_format", "disk_format", "min_disk", "min_ram", "protected", "os_hidden", "properties", "tags")


async def tell(reader: Reader, before: Image | None, after: Image | None) -> list[Event]:
    if before is None and after is not None:
        return [_event("image.create", after)]
    if before is not None and after is None:
        return [_event("image.delete", before, deleted=True)]
    assert before is not None and after is not None
    if before.status is not ImageStatus.ACTIVE and after.status is ImageStatus.ACTIVE and before.status is not ImageStatus.DEACTIVATED:
        return [_event("image.upload", after), _event("image.activate", after)]
    if before.status is ImageStatus.QUEUED and after.status is not ImageStatus.QUEUED:
        return [_event("image.prepare", after)]
    return [_event("image.update", after)] if any(getattr(before, name) != getattr(after, name) for name in WRITTEN) else []


def _event(event_type: str, image: Image, *, deleted: bool = False) -> Event:
    times = {"created_at": iso(image.created_at), "updated_at": iso(image.updated_at)}
    return Event(event_type, "ImagePayload", plain(image, *SHOWN, owner=image.project_id, deleted=deleted, **times))


KINDS = (Kind(images, of_rows(Image, images), tell, "image", "image"),)
