"""Keeps files and rows in step: a file that no row names goes; an upload whose process died is forgotten."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from moln.image.drivers.base import Inventory
from moln.image.model.images import UPLOAD_LOST_S, Image
from moln.image.ops.data import give_up_in, store_of
from moln.image.ops.quotas import taken
from moln.image.ops.replicas import Here, find_here
from moln.image.store import images as store
from moln.image.work import replicas
from moln.kernel.cloud import Cloud
from moln.kernel.db import Reader
from moln.kernel.module import Invariant, Violation
from moln.kernel.quota import ALL_USAGES
from moln.kernel.work import Later, Reconciler, Work

EVERY_S = 60.0


class Sweep(Struct, frozen=True):
    """The one thing this reconciler finds: that it is time to look. id: of the folder, which one of those that share it looks at."""

    id: str = ""


def files_of(here: Here | None) -> Reconciler[Sweep]:
    """Of one controller; None: the only one."""

    async def always(db: Reader, now_us: int) -> list[Sweep]:
        return [Sweep(here.folder if here else "")]

    return Reconciler("image-files", find=always, settle=sweep, fail=cannot_fail, every_s=EVERY_S, at_once=1)


async def sweep(work: Work, _: Sweep) -> None:
    """Remove orphans. Names are read from the store before rows are: whatever is there had its row before it had its file."""
    images = store_of(work.cloud)
    promised = await replicas.look(work.cloud)
    held = await images.inventory()
    await replicas.disown(work.cloud, promised, held)
    for name in await orphans(work.cloud, held):
        await images.remove(name, [store_id for store_id, names in held.stores.items() if name in names])
    for name in await settled(work.cloud, held):
        await images.settled(name)
    for store_id, name in await misplaced(work.cloud, held):
        async with images.moving(name):
            if await still_misplaced(work.cloud, store_id, name):
                await images.drop(name, store_id)
    raise Later("nothing is left over", EVERY_S)


async def orphans(cloud: Cloud, held: Inventory) -> list[str]:
    """Names in the store that no row bears."""
    names = {*held.data, *held.bases, *held.arriving, *held.cached}
    return sorted(names - await store.named(cloud.db, sorted(names)))


async def settled(cloud: Cloud, held: Inventory) -> list[str]:
    """Names that still lie where they arrived, although their rows say where the data lies now."""
    return sorted(set(held.arriving) & set(await cloud.db.all(store.KEPT)))


async def misplaced(cloud: Cloud, held: Inventory) -> list[tuple[str, str]]:
    """Stores with data that lies elsewhere by its row: it was taken out of them."""
    rows = {row["data_id"]: belongs(msgspec.json.decode(row["stores"]), row["importing_to"]) for row in await cloud.db.all(store.IN_STORES)}
    return [(store_id, name) for store_id, names in held.stores.items() for name in names if name in rows and store_id not in rows[name]]


async def still_misplaced(cloud: Cloud, store_id: str, name: str) -> bool:
    """The same of one, now."""
    return all(store_id not in belongs(image.stores, image.importing_to) for image in await store.with_data(cloud.db, [name]))


def belongs(stores: list[str], importing_to: str | None) -> set[str]:
    """Where data lies, or is on its way to."""
    return {*stores, *(importing_to or "").split(",")}


async def cannot_fail(work: Work, resource: object, reason: str) -> None:
    """Housekeeping has no owner to tell: the log has it, and the next period tries again."""


async def find_lost(db: Reader, now_us: int) -> list[Image]:
    return await store.lost(db, now_us - UPLOAD_LOST_S * 1_000_000)


async def forget(work: Work, image: Image) -> None:
    """Back to `queued`: its owner may upload again."""
    await work.write(give_up_in, image.id, image.data_id or "", work.now_us)


LOST_UPLOADS = Reconciler("image-uploads", find=find_lost, settle=forget, fail=cannot_fail, every_s=30)


async def check_files(cloud: Cloud) -> list[Violation]:
    """Every active image has its data (and its base, when it can be booted) where rows say; no file is left over."""
    found = await replicas.check(cloud)
    held = await store_of(cloud).inventory()
    found += [
        Violation(f"The image store {name} does not answer.", "Look after the store, or what moln.toml says of it; the log has the reason.")
        for name in held.silent
    ]
    found += await missing(cloud, held)
    found += [
        Violation(f"The file {name} belongs to no image.", "It goes by itself within a minute; if not, see the log.")
        for name in await orphans(cloud, held)
    ]
    return found  # fmt: skip


async def missing(cloud: Cloud, held: Inventory) -> list[Violation]:
    """Data that is not in its stores. Of several controllers each looks after its own folders (replicas.py), and all after other machines."""
    found, several = [], find_here(cloud) is not None
    for row in await cloud.db.all(store.IN_STORES):
        name, stores = row["data_id"], msgspec.json.decode(row["stores"])
        here = [place for place in stores if not (several and store_of(cloud).is_folder(place))]
        lacks = [place for place in here if place not in held.silent and name not in held.stores.get(place, ())]
        if not several and name not in held.data and not set(held.silent) & set(stores):
            found.append(Violation(f"The data {name} of image {row['id']} is missing.", "Restore its files (data and base) from a backup, or delete the image."))
            continue
        if several or name in held.data:
            found += [
                Violation(f"The data {name} of image {row['id']} is missing in the store {place}.", "Take it out of that store and copy it there again.")
                for place in lacks
            ]
        if row["bootable"] and not several and name not in held.bases:
            found.append(Violation(f"The raw base {name} of image {row['id']} is missing.", "Upload the image again under a new id."))
    return found


FILES_MATCH_ROWS = Invariant("image files match image rows", check_files)


async def check_quota(cloud: Cloud) -> list[Violation]:
    """What the counters say is what the rows count."""
    counted: dict[tuple[str, str], int] = {}
    for image in await cloud.db.all(store.COUNTED):
        for name, n in taken(image).items():
            counted[image.project_id or "", name] = counted.get((image.project_id or "", name), 0) + n
    used = {(r["project_id"], r["resource"]): r["used"] for r in await cloud.db.all(ALL_USAGES, service="image")}
    return [
        Violation(f"Project {p} is charged for {used.get((p, r), 0)} {r} and has {counted.get((p, r), 0)}.", "Report this as a bug.")
        for p, r in sorted(used.keys() | counted.keys())
        if used.get((p, r), 0) != counted.get((p, r), 0)
    ]


QUOTA_MATCHES_ROWS = Invariant("image quota used is what rows count", check_quota)
