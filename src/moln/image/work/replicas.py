"""Has every image's files come to the controllers that keep them, and sees that what rows say of this one's folder is so."""

from __future__ import annotations

import logging

import msgspec
from msgspec import Struct

from moln.image.drivers.base import Inventory
from moln.image.drivers.files import FileStore
from moln.image.drivers.replicas import mark
from moln.image.model.replicas import COPIES, keeps
from moln.image.ops.replicas import Here, ensure, find_here
from moln.image.store import images, replicas
from moln.image.store.replicas import Held
from moln.kernel.cloud import Cloud
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import NotFound
from moln.kernel.module import Violation
from moln.kernel.work import Later, Periodic, Reconciler, Work

EVERY_S, NOWHERE_S = 30.0, 60.0
AT_ONCE, AT_MOST_S = 2, 6 * 3600.0  # files that come at a time; seconds for one

_log = logging.getLogger("moln.image")


class Missing(Struct, frozen=True):
    """Data that is to come to a folder."""

    data_id: str
    folder: str

    @property
    def id(self) -> str:
        """Of two controllers that share a folder one fetches."""
        return f"{self.folder} {self.data_id}"


def reconciler(here: Here) -> Reconciler[Missing]:
    """Of one controller."""

    async def find(db: Reader, now_us: int) -> list[Missing]:
        folders = {keeper.folder for keeper in await db.all(replicas.KEEPERS)}
        if here.folder not in folders:  # this controller was removed
            return []
        names = await db.all(replicas.UNSETTLED, folder=here.folder)
        holding: dict[str, set[str]] = {}
        if len(folders) > COPIES:
            for row in await replicas.of_data(db, names):
                if row.folder in folders:
                    holding.setdefault(row.data_id, set()).add(row.folder)
        return [Missing(name, here.folder) for name in names if keeps(here.folder, name, folders, holding.get(name, ()))]

    return Reconciler("image-replicas", find=find, settle=settle, fail=cannot_fail, every_s=EVERY_S, at_once=AT_ONCE, at_most_s=AT_MOST_S)


async def settle(work: Work, missing: Missing) -> None:
    """Raises: Unavailable, TooLarge."""
    for image in await images.with_data(work.db, [missing.data_id]):
        try:
            await ensure(work.cloud, image)
        except NotFound:
            raise Later("no controller has it", NOWHERE_S) from None


async def cannot_fail(work: Work, missing: Missing, reason: str) -> None:
    """The log has it, and the next period tries again."""


async def forget(work: Work) -> None:
    await work.write(replicas.forget)


FORGET = Periodic("image-replicas", run=forget, every_s=60.0)


async def look(cloud: Cloud) -> list[Held]:
    """Which folder is seen here (a mount may have come or gone); what rows say that it has."""
    here, store = find_here(cloud), cloud.areas["image"]
    if here is None:
        return []
    if (folder := await store.run(mark, store.root)) != here.folder:
        seen = await cloud.db.all(replicas.KEEPERS)
        await store.start(shared=any(keeper.folder == folder and keeper.name != here.controller for keeper in seen))
        await cloud.db.write(replicas.register, here.controller, folder)
        here.folder = folder
    return await cloud.db.all(replicas.HELD, folder=here.folder)


def lacking(store: FileStore, row: Held, held: Inventory) -> list[str]:
    """What a folder has not that rows say it has, in words: a store's data, the base."""
    names = [name for name in row.there if name in row.stores and name in store.folders and row.data_id not in held.stores[name]]
    return [f"data {row.data_id} in the store {name}" for name in names] + (
        [f"raw base {row.data_id}"] if row.bootable and row.data_id not in held.bases else []
    )


async def disown(cloud: Cloud, rows: list[Held], held: Inventory) -> None:
    """What was lost here comes again from another controller. rows: as they were before the look at the folder."""
    if here := find_here(cloud):
        for row in rows:
            if what := lacking(cloud.areas["image"], row, held):
                _log.warning("gone from this controller's disk, and fetched again: %s", ", ".join(what))
                await cloud.db.write(disown_in, row.data_id, here.folder)


async def disown_in(tx: Transaction, data_id: str, folder: str) -> None:
    await replicas.drop(tx, data_id, folder)
    tx.wake(replicas.WAKES)


async def check(cloud: Cloud) -> list[Violation]:
    """This controller has what rows say; every image's files are at a controller that lives. Nothing, where there is one controller."""
    if find_here(cloud) is None:
        return []
    store: FileStore = cloud.areas["image"]
    rows = await look(cloud)
    held = await store.inventory()
    found = [
        Violation(f"An image's {what} is missing at this controller.", "It comes again from another controller that has it within a minute; if not, see the log.")
        for row in rows for what in lacking(store, row, held)
    ]  # fmt: skip
    living = await cloud.claims.living() if cloud.claims else None
    whose: dict[str, set[str]] = {}
    for one in await cloud.db.all(replicas.WHOSE):
        whose.setdefault(one.data_id, set()).add(one.name)
    for kept in await cloud.db.all(images.IN_STORES):
        names, stores = whose.get(kept["data_id"], set()), msgspec.json.decode(kept["stores"])
        if (set(stores) & store.folders.keys() or kept["bootable"]) and not (names if living is None else names & living):
            which = f"only on controllers that give no sign of life: {', '.join(sorted(names))}" if names else "on no controller"
            found.append(
                Violation(f"The data {kept['data_id']} of image {kept['id']} is {which}.", "Start one of them, restore the file, or delete the image.")
            )
    return found
