"""What an image is (image api-ref v2, "Images"), and who may know of it."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from moln.image.model.formats import CONTAINER_FORMATS, DISK_FORMATS

MAX_PROPERTIES = MAX_TAGS = MAX_MEMBERS = 128  # Glance's defaults
HASH_ALGORITHM = "sha512"
DIGITS = {"sha512": 128, "sha384": 96, "sha256": 64}  # of each algorithm that a client may choose, in hex
VISIBILITIES = ("public", "private", "shared", "community")
MEMBER_STATUSES = ("pending", "accepted", "rejected")
UPLOAD_LOST_S = 120  # an upload that has not moved for so long has died with its process


class ImageStatus(StrEnum):
    """Glance's, without that of delayed deletion, which we never enter."""

    QUEUED = "queued"
    SAVING = "saving"
    UPLOADING = "uploading"
    IMPORTING = "importing"
    ACTIVE = "active"
    DEACTIVATED = "deactivated"
    KILLED = "killed"


S = ImageStatus
MOVES = {  # every change of status there is; nothing leads back to `queued` once data is kept (OSSA-2015-019)
    S.QUEUED: {S.SAVING, S.UPLOADING, S.IMPORTING},
    S.SAVING: {S.ACTIVE, S.QUEUED, S.KILLED},
    S.UPLOADING: {S.UPLOADING, S.IMPORTING, S.QUEUED},
    S.IMPORTING: {S.ACTIVE, S.QUEUED},
    S.ACTIVE: {S.ACTIVE, S.DEACTIVATED},
    S.DEACTIVATED: {S.ACTIVE, S.DEACTIVATED},
    S.KILLED: set(),
}
ARRIVING = frozenset({S.SAVING, S.UPLOADING, S.IMPORTING})  # `data_id` names bytes that are not yet the image's


class Image(Struct, frozen=True):
    """An image. project_id: `owner` on the wire. size, virtual_size: bytes; min_disk: GiB; min_ram: MiB; times: µs UTC.

    data_id: the name of its data in the store, new with each upload. from_node: a node brings the data, no client.
    bootable: there is a raw base under `data_id`. seen_at: when its upload last moved. generation: raised by each write.
    staged: bytes that were staged and wait for their import; None, while none do. stores: where the data lies.
    task_id: the import that works on it. importing_to, failed_import: stores, with commas between them; None, when nothing was ever imported.
    """

    id: str
    project_id: str | None
    name: str | None
    status: ImageStatus
    visibility: str
    container_format: str | None
    disk_format: str | None
    created_at: int
    updated_at: int
    min_disk: int = 0
    min_ram: int = 0
    protected: bool = False
    os_hidden: bool = False
    size: int | None = None
    virtual_size: int | None = None
    checksum: str | None = None
    os_hash_algo: str | None = None
    os_hash_value: str | None = None
    data_id: str | None = None
    from_node: bool = False
    bootable: bool = False
    seen_at: int = 0
    charged_mib: int = 0
    staged: int | None = None
    stores: list[str] = []
    task_id: str | None = None
    importing_to: str | None = None
    failed_import: str | None = None
    properties: dict[str, str] = {}
    tags: list[str] = []
    generation: int = 1


class Member(Struct, frozen=True):
    """A project with which an image is shared. Times: µs UTC."""

    image_id: str
    member_id: str
    status: str
    created_at: int
    updated_at: int


def labels(image: Image) -> set[str]:
    """What lists are filtered by beside the columns: a tag as `t:…`, a property as `p:name=value`."""
    return {f"t:{tag}" for tag in image.tags} | {f"p:{name}={value}" for name, value in image.properties.items()}


def target(image: Image, member_id: str | None = None) -> dict[str, str | None]:
    """The image as policy rules see it."""
    return {
        "project_id": image.project_id,
        "owner": image.project_id,
        "visibility": image.visibility,
        "member_id": member_id,
    }


__all__ = [
    "ARRIVING", "CONTAINER_FORMATS", "DIGITS", "DISK_FORMATS", "HASH_ALGORITHM", "MAX_MEMBERS", "MAX_PROPERTIES", "MAX_TAGS", "MEMBER_STATUSES", "MOVES",
    "UPLOAD_LOST_S", "VISIBILITIES", "Image", "ImageStatus", "Member", "labels", "target",
]  # fmt: skip
