"""Which controller sees which folder, and which folder has which data. A removed controller's are not counted from then on."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from msgspec import Struct

from moln.image.model.replicas import Keeper
from moln.image.store.tables import image_folders as folders
from moln.image.store.tables import image_replicas as replicas
from moln.image.store.tables import images
from moln.kernel.controllers.tables import controllers
from moln.kernel.db import Query, Reader, Statement, Transaction, in_list

WAKES = "image-replicas"
_keeper = controllers.c.name, controllers.c.url, folders.c.folder
_sees = sa.join(folders, controllers, folders.c.controller == controllers.c.name)
_kept = sa.and_(sa.or_(images.c.status == "active", images.c.status == "deactivated"), images.c.data_id.is_not(None))
KEEPERS = Query(sa.select(*_keeper).select_from(_sees).order_by(controllers.c.name), Keeper)
HOLDERS = Query(
    sa.select(*_keeper).select_from(sa.join(_sees, replicas, replicas.c.folder == folders.c.folder))
    .where(replicas.c.data_id == sa.bindparam("data_id")).order_by(controllers.c.name),
    Keeper,
)  # fmt: skip
UNSETTLED = Query(
    sa.select(images.c.data_id).where(_kept).where(
        ~sa.exists().where(
            replicas.c.data_id == images.c.data_id, replicas.c.folder == sa.bindparam("folder"), replicas.c.stores == images.c.stores
        )
    ).order_by(images.c.rowid),
    str,
)  # fmt: skip


class Replica(Struct, frozen=True):
    """folder: its id. stores: in which of the image's stores its data is there, the base of one that boots, too; None: bytes that are not
    yet an image's.
    """

    data_id: str
    folder: str
    stores: list[str] | None


class Held(Struct, frozen=True):
    """What a folder has of one image. stores: that the image lies in now."""

    data_id: str
    bootable: bool
    stores: list[str]
    there: list[str]


class Whose(Struct, frozen=True):
    """Data, and a controller that sees a folder with it."""

    data_id: str
    name: str


REPLICAS = Query(sa.select(*(replicas.c[f] for f in Replica.__struct_fields__)).where(in_list(replicas.c.data_id, "data_ids")), Replica)
HELD = Query(
    sa.select(images.c.data_id, images.c.bootable, images.c.stores, replicas.c.stores.label("there"))
    .select_from(sa.join(images, replicas, replicas.c.data_id == images.c.data_id))
    .where(_kept, replicas.c.folder == sa.bindparam("folder"), replicas.c.stores.is_not(None)),
    Held,
)
WHOSE = Query(
    sa.select(replicas.c.data_id, controllers.c.name).select_from(sa.join(_sees, replicas, replicas.c.folder == folders.c.folder))
    .where(replicas.c.stores.is_not(None)),
    Whose,
)  # fmt: skip
MOVE = Statement(sa.update(folders).where(folders.c.controller == sa.bindparam("of")).values(folder=sa.bindparam("to")))
FORGET = [
    Statement(sa.delete(folders).where(folders.c.controller.not_in(sa.select(controllers.c.name)))),
    Statement(sa.delete(replicas).where(replicas.c.folder.not_in(sa.select(folders.c.folder)))),
    Statement(sa.delete(replicas).where(replicas.c.data_id.not_in(sa.select(images.c.data_id).where(images.c.data_id.is_not(None))))),
]


async def register(tx: Transaction, controller: str, folder: str) -> None:
    """The controller sees this folder, and no other any more."""
    if not await tx.run(MOVE, of=controller, to=folder):
        await tx.insert(folders, {"controller": controller, "folder": folder})
    tx.wake(WAKES)


async def put(tx: Transaction, data_id: str, folder: str, stores: Sequence[str] | None) -> None:
    """The folder has so much of it."""
    await drop(tx, data_id, folder)
    await tx.insert(replicas, Replica(data_id, folder, None if stores is None else list(stores)))


async def drop(tx: Transaction, data_id: str, folder: str) -> None:
    """The folder has nothing of it."""
    await tx.delete(replicas, data_id=data_id, folder=folder)


async def only(tx: Transaction, data_id: str, folder: str, stores: Sequence[str]) -> None:
    """Bytes have become an image's data here, whoever brought them; the other controllers are to have it, too."""
    if await tx.delete(replicas, data_id=data_id):
        tx.wake("image-files")  # what it was made of may lie elsewhere
    await put(tx, data_id, folder, stores)
    tx.wake(WAKES)


async def of_data(db: Reader, data_ids: Sequence[str]) -> list[Replica]:
    return await db.all(REPLICAS, data_ids=list(data_ids))


async def forget(tx: Transaction) -> None:
    """What removed controllers saw, and what is of no image any more."""
    for statement in FORGET:
        await tx.run(statement)
