"""Where images' bytes are kept. Data is named by the upload that brought it, never by the image, and never changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from msgspec import Struct


class Stored(Struct, frozen=True):
    """What an upload turned out to be. size, virtual_size: bytes; bootable: whether a raw base was made for booting."""

    size: int
    virtual_size: int | None
    md5: str
    sha512: str
    bootable: bool


class Inventory(Struct, frozen=True):
    """Every name a store holds: finished data, raw bases, and what is still arriving."""

    data: list[str]
    bases: list[str]
    arriving: list[str]


class Upload(Protocol):
    """Bytes on their way in. Exactly one of `finish` and `abandon` ends it."""

    received: int

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes. Raises: TooLarge, Unavailable."""

    async def finish(self, disk_format: str, container_format: str) -> Stored:
        """Check the content, keep it, make its base. Raises: UnsupportedMedia when it is not what it claims to be."""

    async def abandon(self) -> None:
        """Leave nothing behind. Never raises."""


class ImageStore(Protocol):
    """A place for image data. Every verb but `begin` may run twice."""

    async def begin(self, data_id: str, *, most: int) -> Upload:
        """Start taking bytes; most: bytes that may come."""

    async def adopt(self, data_id: str, disk_format: str, container_format: str) -> Stored:
        """Keep what a node left in the incoming folder. Raises: NotFound, UnsupportedMedia."""

    def read(self, data_id: str, start: int, length: int) -> AsyncIterator[bytes]:
        """The bytes [start, start+length) in pieces. Raises: NotFound."""

    async def remove(self, data_id: str) -> None:
        """Nothing is left under this name."""

    async def inventory(self) -> Inventory:
        """Every name it holds."""
