"""How images are kept: the row with its properties and tags, and the labels that lists are filtered by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from moln.image.model.images import ARRIVING, MOVES, Image, labels
from moln.image.store.tables import image_labels, image_members, images
from moln.kernel.db import Listing, Query, Reader, Statement, Transaction, generations, history_of, in_list
from moln.kernel.errors import Conflict

COLUMNS = [images.c[f] for f in Image.__struct_fields__]
OLD = history_of(images)
BY_ID = Query(sa.select(*COLUMNS).where(images.c.id == sa.bindparam("id")), Image)
SAVING = Query(  # those that wait for a client's bytes, or a node's
    sa.select(*COLUMNS).where(
        sa.or_(images.c.status == "saving", sa.and_(images.c.status == "uploading", images.c.staged.is_(None))),
        images.c.seen_at < sa.bindparam("before"),
    ),
    Image,
)
NAMED = Query(sa.select(images.c.data_id).where(in_list(images.c.data_id, "data_ids")), str)
WITH_DATA = Query(sa.select(*COLUMNS).where(in_list(images.c.data_id, "data_ids")), Image)
KEPT = Query(  # an image without data has none to be kept
    sa.select(images.c.data_id)
    .where(sa.or_(images.c.status == "active", images.c.status == "deactivated"), images.c.data_id.is_not(None)),
    str,
)
IN_STORES = Query(
    sa.select(images.c.id, images.c.data_id, images.c.stores, images.c.importing_to, images.c.bootable).where(
        sa.or_(images.c.status == "active", images.c.status == "deactivated"), images.c.data_id.is_not(None)
    ),
    dict,
)
ONCE_THERE = Query(sa.select(OLD.c.id).where(OLD.c.id == sa.bindparam("id")).limit(1), str)


TOUCH = Statement(
    sa.update(images)
    .where(images.c.id == sa.bindparam("id"), images.c.data_id == sa.bindparam("data_id"))
    .where(sa.or_(*(images.c.status == str(s) for s in sorted(ARRIVING))))
    .values(seen_at=sa.bindparam("now"))
)


COUNTED = Query(sa.select(*COLUMNS).where(images.c.project_id.is_not(None)), Image)


def labelled(param: str) -> Any:
    return images.c.id.in_(sa.select(image_labels.c.image_id).where(image_labels.c.label == sa.bindparam(param)))


def visible_with(*statuses: str) -> Any:
    """The images that a project may know of: its own, those of all, and those shared with it (members of these statuses)."""

    def clause(param: str) -> Any:
        me: Any = sa.bindparam(param)
        wanted = sa.or_(*(image_members.c.status == status for status in statuses))
        shared = sa.select(image_members.c.image_id).where(image_members.c.member_id == me, wanted)
        return sa.or_(
            images.c.project_id == me,
            images.c.visibility == "public",
            images.c.visibility == "community",
            sa.and_(images.c.visibility == "shared", images.c.id.in_(shared)),
        )

    return clause


class Written(Struct, frozen=True):
    """Which image, as of which write, and what its visibility hangs on."""

    id: str
    generation: int
    project_id: str | None
    visibility: str


EXTRA: dict[str, Any] = {
    "visible_accepted": visible_with("accepted"),
    "visible_pending": visible_with("pending"),
    "visible_rejected": visible_with("rejected"),
    "visible_all": visible_with("accepted", "pending", "rejected"),
    "mine_or_not_community": lambda p: sa.or_(images.c.project_id == sa.bindparam(p), images.c.visibility != "community"),
    "label": labelled,
}  # fmt: skip
LISTING = Listing(sa.select(*COLUMNS), Image, images, extra=EXTRA)
WRITTEN = Listing(sa.select(*(images.c[f] for f in Written.__struct_fields__)), Written, images, extra=EXTRA)
BY_IDS = Query(sa.select(*COLUMNS).where(in_list(images.c.id, "ids")), Image)


async def several(db: Reader, ids: Sequence[str]) -> list[Image]:
    return await db.all(BY_IDS, ids=list(ids))


async def find(db: Reader, image_id: str) -> Image | None:
    """The image, whoever asks."""
    return await db.one(BY_ID, id=image_id)


async def add(tx: Transaction, image: Image) -> None:
    """Raises: Duplicate. An id is never used a second time."""
    if await tx.one(ONCE_THERE, id=image.id):
        raise Conflict(f"Image ID {image.id} already exists!")
    await tx.insert(images, image)
    await relabel(tx, image, set())


async def save(tx: Transaction, before: Image, **changes: Any) -> Image:
    """Write what changed. Raises: Conflict, when another writer came first or MOVES forbids the status."""
    status = changes.get("status", before.status)
    if status is not before.status and status not in MOVES[before.status]:
        raise Conflict(f"Image status transition from {before.status} to {status} is not allowed")
    after = await generations.save(tx, images, "Image", before, changes)
    if "tags" in changes or "properties" in changes:
        await relabel(tx, after, labels(before))
    tx.changed("images", before.id)
    return after


async def relabel(tx: Transaction, image: Image, old: set[str]) -> None:
    new = labels(image)
    for label in sorted(old - new):
        await tx.delete(image_labels, image_id=image.id, label=label)
    for label in sorted(new - old):
        await tx.insert(image_labels, {"image_id": image.id, "label": label}, if_absent=True)


async def remove(tx: Transaction, image: Image) -> None:
    """The row goes to its history, its labels and members go. Raises: Conflict, when another writer came first."""
    await tx.delete(image_labels, image_id=image.id)
    await tx.delete(image_members, image_id=image.id)
    await generations.remove(tx, images, "Image", image)
    tx.changed("images", image.id)


async def touch(tx: Transaction, image_id: str, data_id: str, now_us: int) -> bool:
    """An upload moved; False when it is no longer wanted."""
    return bool(await tx.run(TOUCH, id=image_id, data_id=data_id, now=now_us))


async def lost(db: Reader, before_us: int) -> list[Image]:
    """Images whose client's upload has not moved since."""
    return [i for i in await db.all(SAVING, before=before_us) if not i.from_node]


async def with_data(db: Reader, data_ids: Sequence[str]) -> list[Image]:
    """The images that bear these names."""
    return await db.all(WITH_DATA, data_ids=list(data_ids))


async def named(db: Reader, data_ids: Sequence[str]) -> set[str]:
    """Those of the names that some image bears."""
    return set(await db.all(NAMED, data_ids=list(data_ids)))
