"""What a volume backend can do. Every verb may run twice; only BackendRefused and BackendUnreachable come out.

The values are plain (they cross the link to a node): ids are the cloud's uuids, sizes are GiB. A driver never parses what a
user wrote into a volume or an image: it moves bytes.
"""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

from msgspec import Struct

SourceKind = Literal["blank", "image", "snapshot", "volume", "backup"]


class Pool(Struct, frozen=True):
    """How full a backend is. total_gib, free_gib: GiB; reflink: whether clones share their blocks.

    shared: the name of a storage that other nodes reach as well (the same name on each), "" when only this node does.
    lent: whether this node lends its volumes to others, and opens those that others lend it (Exports).
    """

    total_gib: float
    free_gib: float
    reflink: bool
    shared: str = ""
    lent: bool = False


class Connection(Struct, frozen=True):
    """How a hypervisor opens it. kind: `file` on the volume's own node, `shared` on all that share its pool, `nbd` on one that it is lent to; path:
    absolute, of `nbd` a socket, with the protocol rbd pool/image; format: always named to QEMU."""

    kind: str
    path: str
    format: str = "raw"
    protocol: Literal["file", "rbd"] = "file"


class Export(Struct, frozen=True):
    """A volume as it is lent to one host. address: ADDRESS:PORT. name: of the export, another one once the volume's host was started anew: what
    a guest had written and not flushed may be lost then, and must not be taken for kept. host, secret: by which it is opened (TLS, RFC 4279)."""

    volume_id: str
    host: str
    address: str
    name: str
    secret: str


class Lent(Struct, frozen=True):
    """What one node has of Exports. exports: (volume, the host that it is lent to); imports: volumes of others."""

    exports: list[tuple[str, str]] = []
    imports: list[str] = []


class Inventory(Struct, frozen=True):
    """Everything a backend holds, for `moln doctor`. Ids, and names of whatever else lies among them."""

    volumes: list[str]
    snapshots: list[str]
    backups: list[str] = []


class BackupFacts(Struct, frozen=True):
    """What a backup holds. objects: files with bytes of it; size_bytes: of the volume."""

    objects: int
    size_bytes: int


class Volumes(Protocol):
    """Volumes, and how a guest reaches them: what every backend does."""

    async def ensure_volume(self, volume_id: str, size_gib: int, source: SourceKind = "blank", source_id: str = "") -> None:
        """There is a volume of at least `size_gib`, begun as a copy of its source; one that is there is left as it is.

        Raises: BackendRefused when the source does not exist or does not fit.
        """

    async def extend_volume(self, volume_id: str, size_gib: int) -> None:
        """The volume has at least `size_gib`. Raises: BackendRefused when there is none."""

    async def remove_volume(self, volume_id: str) -> None:
        """There is no such volume."""

    async def find_connection(self, volume_id: str) -> Connection | None:
        """How to open it; None when there is no such volume."""

    async def pool(self) -> Pool:
        """How full the backend is."""

    async def inventory(self) -> Inventory:
        """Everything it holds."""


@runtime_checkable
class Snapshots(Protocol):
    """The ability to keep a volume as it is at a moment (crash-consistent when in use)."""

    async def ensure_snapshot(self, snapshot_id: str, volume_id: str) -> None:
        """There is a snapshot; one that is there is left as it is. Raises: BackendRefused when there is no such volume."""

    async def remove_snapshot(self, snapshot_id: str) -> None:
        """There is no such snapshot."""

    async def revert_volume(self, volume_id: str, snapshot_id: str) -> None:
        """The volume (not in use) holds what its snapshot holds, at no less than its present size."""


@runtime_checkable
class ImageExport(Protocol):
    """The ability to hand a volume's bytes to the image store."""

    async def ensure_image_data(self, image_id: str, volume_id: str) -> None:
        """The image store's incoming folder holds the volume's present bytes as `image_id` (raw)."""


@runtime_checkable
class Reimages(Protocol):
    """The ability to begin a volume anew."""

    async def reimage_volume(self, volume_id: str, image_id: str) -> None:
        """The volume (not in use) holds what an image holds, at its present size. Raises: BackendRefused, when the image does not fit."""


@runtime_checkable
class Backups(Protocol):
    """The ability to keep copies that outlive their volumes, whole and checked when they come back (`ensure_volume` from one, too)."""

    async def ensure_backup(self, backup_id: str, source: SourceKind, source_id: str, parent_id: str = "") -> BackupFacts:
        """There is a backup of a volume (crash-consistent when in use) or a snapshot; one that is there is left as it is.

        parent_id: the backup whose equal parts are not kept twice. Raises: BackendRefused when there is no such source.
        """

    async def find_backup(self, backup_id: str) -> BackupFacts | None:
        """What it holds; None when there is no such backup."""

    async def remove_backup(self, backup_id: str) -> None:
        """There is no such backup; those made on top of it stay whole."""

    async def restore_backup(self, volume_id: str, backup_id: str) -> None:
        """The volume (not in use) holds what the backup holds, at no less than its present size.

        Raises: BackendRefused when it does not fit or is damaged; then the volume is as it was.
        """


@runtime_checkable
class Exports(Protocol):
    """The ability to lend volumes to other hosts, one at a time to each, and to open those of others. What is lent outlives the node's process."""

    async def ensure_export(self, volume_id: str, host: str) -> Export:
        """That host, and nobody else who has not its secret, opens the volume. Raises: BackendRefused, when there is no such volume."""

    async def remove_export(self, volume_id: str, host: str) -> None:
        """That host does not open it any more: nothing that it sends from now on is written."""

    async def ensure_import(self, export: Export) -> Connection:
        """Hypervisors of this host open the volume by what is returned, at its present size whenever they connect."""

    async def remove_import(self, volume_id: str) -> None:
        """This host does not open it any more."""

    async def lent(self) -> Lent:
        """All that is lent and opened, for who looks after it."""


class VolumeDriver(Volumes, Snapshots, ImageExport, Reimages, Backups, Protocol):
    """Everything at once: what a node offers under the name `volume`. A backend without an ability refuses its verbs."""
