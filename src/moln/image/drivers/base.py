"""Where images' bytes are kept. Data is named by the upload that brought it, never by the image, and never changes.

One ImageStore has all the stores that users know by name: bytes arrive and are judged in one place, then lie in one or several of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from moln.image.drivers.preparing import Preparation


class Stored(Struct, frozen=True):
    """What an upload turned out to be. size, virtual_size: bytes; digest: by the algorithm that the upload was begun with;
    bootable: whether a raw base was made for booting.
    """

    size: int
    virtual_size: int | None
    md5: str
    digest: str
    bootable: bool


class Inventory(Struct, frozen=True):
    """Every name there is: finished data, raw bases, what is still arriving or staged. stores: the data by store; silent: the stores
    that did not answer, and are not in `stores`; cached: what of other machines is on this one's disk, too.
    """

    data: list[str]
    bases: list[str]
    arriving: list[str]
    stores: dict[str, list[str]] = {}
    silent: list[str] = []
    cached: list[str] = []


class Backend(Protocol):
    """One store on other machines, which keeps data under its name and never looks into it. Every verb may run twice.

    kind: as Glance calls the type of such a store. All raise Unavailable, when it is lost.
    """

    kind: str

    async def put(self, data_id: str, size: int, pieces: AsyncIterator[bytes]) -> None:
        """Keep exactly `size` bytes; what breaks off leaves nothing that `size` would find."""

    def read(self, data_id: str, start: int, length: int) -> AsyncIterator[bytes]:
        """The bytes [start, start+length) in pieces. Raises: NotFound."""

    async def size(self, data_id: str) -> int:
        """Bytes that are kept whole. Raises: NotFound."""

    async def remove(self, data_id: str) -> None:
        """Nothing is left under this name, also of a `put` that broke off."""

    async def names(self) -> list[str]:
        """Every name under which there is something, whole or not."""

    def url(self, data_id: str) -> str:
        """Where data lies, as services are told of it; no credentials."""

    def about(self) -> dict[str, Any]:
        """What an administrator may be told of the place."""

    async def stop(self) -> None:
        """Let go of connections and threads."""


class Upload(Protocol):
    """Bytes on their way in. Exactly one of `finish`, `stage` and `abandon` ends it."""

    received: int

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes. Raises: TooLarge, Unavailable."""

    async def finish(self, disk_format: str, container_format: str, stores: Sequence[str] = ()) -> Stored:
        """Check the content, keep it in these stores (none named: the default), make its base.

        Raises: UnsupportedMedia when it is not what it claims to be.
        """

    async def stage(self) -> int:
        """Leave the bytes for a later `adopt`, unjudged; how many they are."""

    async def abandon(self) -> None:
        """Leave nothing behind. Never raises."""


class ImageStore(Protocol):
    """A place for image data. Every verb but `begin` may run twice. default: the store of what names none."""

    default: str

    def moving(self, data_id: str) -> asyncio.Lock:
        """Held by whoever copies this data into a store, or judges by its row what a store should not hold."""

    async def begin(self, data_id: str, *, most: int, algorithm: str = "sha512") -> Upload:
        """Start taking bytes; most: bytes that may come; algorithm: of the digest beside md5."""

    async def adopt(self, data_id: str, disk_format: str, container_format: str, stores: Sequence[str] = ()) -> Stored:
        """Keep what a node left, or was staged, as `finish` does. Raises: NotFound, UnsupportedMedia."""

    async def prepare(self, data_id: str, disk_format: str, container_format: str, wanted: Preparation) -> None:
        """Unpack or convert what was staged, for `adopt`. Raises: UnsupportedMedia, TooLarge."""

    async def copy(self, data_id: str, store: str) -> None:
        """The data lies in this store, too. Raises: NotFound."""

    async def drop(self, data_id: str, store: str) -> None:
        """The data does not lie in this store (any more)."""

    def names(self) -> list[str]:
        """Every store there is, the default first."""

    def is_folder(self, store: str) -> bool:
        """Whether a store's data lies in a folder of this machine."""

    def url(self, store: str, data_id: str) -> str:
        """Where data lies in a store, as services are told of it."""

    def about(self, store: str) -> dict[str, Any]:
        """What an administrator may be told of a store: its `type`, and `properties`."""

    def read(self, data_id: str, start: int, length: int) -> AsyncIterator[bytes]:
        """The bytes [start, start+length) in pieces. Raises: NotFound."""

    async def settled(self, data_id: str) -> None:
        """A row names the data where it lies: what it came from may go."""

    async def asked_for(self, data_id: str, image_id: str) -> None:
        """Somebody is about to read it: what lies elsewhere only may come into the cache."""

    async def remove(self, data_id: str, stores: Sequence[str] | None = None) -> None:
        """Nothing is left under this name here, and in these stores on other machines; None is all of them."""

    async def inventory(self) -> Inventory:
        """Every name it holds."""
