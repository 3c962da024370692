"""Which controllers have an image's files, where there are several (docs/adr/0050-image-replicas.md). With one, all of this is nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from moln.image.drivers.files import FileStore
from moln.image.drivers.replicas import ensure_base, ensure_data
from moln.image.model.images import Image, ImageStatus
from moln.image.model.replicas import Keeper
from moln.image.store import images, replicas
from moln.kernel.cloud import Cloud
from moln.kernel.db import Transaction
from moln.kernel.link.streams import Stream

AREA = "image-replicas"
KEPT = (ImageStatus.ACTIVE, ImageStatus.DEACTIVATED)


class Here(Struct):
    """This controller. folder: the id of the folder that it sees, as its mark says."""

    controller: str
    folder: str = ""


def find_here(cloud: Cloud) -> Here | None:
    """What module.py put there; None where there is one controller."""
    found: Here | None = cloud.areas.get(AREA)
    return found


def holders_of(cloud: Cloud, here: Here) -> Callable[[str], Awaitable[list[Keeper]]]:
    """Who else has some data, by the rows; whoever gives signs of life first."""

    async def holders(data_id: str) -> list[Keeper]:
        found = [keeper for keeper in await cloud.db.all(replicas.HOLDERS, data_id=data_id) if keeper.name != here.controller]
        living = await cloud.claims.living() if cloud.claims and len(found) > 1 else set()
        return sorted(found, key=lambda keeper: keeper.name not in living)

    return holders


async def arrived_in(tx: Transaction, cloud: Cloud, data_id: str) -> None:
    """Bytes that are to become an image's data are here: whoever makes it fetches them."""
    if here := find_here(cloud):
        await replicas.put(tx, data_id, here.folder, None)


async def kept_in(tx: Transaction, cloud: Cloud, data_id: str, stores: Sequence[str]) -> None:
    """An image's data is here now, and nowhere else yet."""
    if here := find_here(cloud):
        await replicas.only(tx, data_id, here.folder, stores)


async def ensure(cloud: Cloud, image: Image) -> None:
    """The files of an image that is active are here, too. Raises: NotFound, when no controller has them; Unavailable, TooLarge."""
    here, data_id = find_here(cloud), image.data_id or ""
    if here is None or image.status not in KEPT or not data_id:
        return
    store: FileStore = cloud.areas["image"]
    rows = await replicas.of_data(cloud.db, [data_id])
    trusted = any(row.folder == here.folder and row.stores is not None for row in rows)
    if trusted and any(row.folder == here.folder and row.stores == image.stores for row in rows):
        return
    await ensure_data(store, image, trusted=trusted)
    await ensure_base(store, image, trusted=trusted or not any(row.stores is not None for row in rows))
    await cloud.db.write(here_in, here.folder, image)


async def here_in(tx: Transaction, folder: str, image: Image) -> None:
    """The folder has it, unless it went meanwhile: then its files have to go again."""
    if any(found.status in KEPT for found in await images.with_data(tx, [image.data_id or ""])):
        await replicas.put(tx, image.data_id or "", folder, image.stores)
    else:
        tx.wake("image-files")


async def open_base(cloud: Cloud, data_id: str) -> Stream | None:
    """A base that is not here, from a controller that has it; None, where there are no others. Raises: Unavailable."""
    store: FileStore = cloud.areas["image"]
    return await store.peers.open("base", data_id) if store.peers else None
