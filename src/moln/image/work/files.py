"""Keeps files and rows in step: a file that no row names goes; an upload whose process died is forgotten."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from moln.image.drivers.base import Inventory
from moln.image.model.images import UPLOAD_LOST_S, Image
from moln.image.ops.data import give_up_in, store_of
from moln.image.ops.quotas import taken
from moln.image.store import images as store
from moln.kernel.cloud import Cloud
from moln.kernel.db import Reader
from moln.kernel.module import Invariant, Violation
from moln.kernel.quota import ALL_USAGES
from moln.kernel.work import Later, Reconciler, Work

EVERY_S = 60.0


class Sweep(Struct, frozen=True):
    """The one thing this reconciler finds: that it is time to look."""

    id: str = ""


async def always(db: Reader, now_us: int) -> list[Sweep]:
    return [Sweep()]


async def sweep(work: Work, _: Sweep) -> None:
    """Remove orphans. Names are read from the store first: whatever is there had its row before it had its file."""
    images = store_of(work.cloud)
    held = await images.inventory()
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


IMAGE_FILES = Reconciler("image-files", find=always, settle=sweep, fail=cannot_fail, every_s=EVERY_S, at_once=1)
LOST_UPLOADS = Reconciler("image-uploads", find=find_lost, settle=forget, fail=cannot_fail, every_s=30)


async def check_files(cloud: Cloud) -> list[Violation]:
    """Every active image has its data (and its base, when it can be booted); no file is left over."""
    held = await store_of(cloud).inventory()
    kept, bootable = set(await cloud.db.all(store.KEPT)), set(await cloud.db.all(store.BOOTABLE))
    rows = await cloud.db.all(store.IN_STORES)
    unknown = {row["data_id"] for row in rows if set(held.silent) & set(msgspec.json.decode(row["stores"]))}
    found = [
        Violation(f"The image store {name} does not answer.", "Look after the store, or what moln.toml says of it; the log has the reason.")
        for name in held.silent
    ]
    found += [
        Violation(f"An image's data {name} is missing.", "Restore it from a backup, or delete the image.")
        for name in sorted(kept - set(held.data) - unknown)
    ]
    for row in rows:
        if row["data_id"] in held.data:
            found += [
                Violation(
                    f"An image's data {row['data_id']} is missing in the store {name}.",
                    "Take it out of that store and copy it there again.",
                )
                for name in msgspec.json.decode(row["stores"])
                if name not in held.silent and row["data_id"] not in held.stores.get(name, ())
            ]
    found += [
        Violation(f"An image's raw base {name} is missing.", "Upload the image again under a new id.")
        for name in sorted(bootable - set(held.bases))
    ]
    found += [
        Violation(f"The file {name} belongs to no image.", "It goes by itself within a minute; if not, see the log.")
        for name in await orphans(cloud, held)
    ]
    return found  # fmt: skip


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
