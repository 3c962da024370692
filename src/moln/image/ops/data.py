"""An image's data on its way in and out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from msgspec import Struct

from moln.image.drivers.base import ImageStore, Stored
from moln.image.model.images import ARRIVING, HASH_ALGORITHM, Image, ImageStatus
from moln.image.model.tasks import TaskStatus
from moln.image.ops import quotas, replicas, signatures
from moln.image.ops.access import get_for
from moln.image.store import images as store
from moln.image.store import tasks
from moln.kernel.cloud import Cloud
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import BackendRefused, Conflict, Forbidden, Gone, Invalid, NotFound, OverQuota, UnsupportedMedia

BEAT_S = 10.0  # how often a moving upload says so
GIB = 1 << 30
STEP_MIB = 64  # how far ahead of unannounced bytes the quota is charged


def store_of(cloud: Cloud) -> ImageStore:
    """The image store that app.py put there."""
    found: ImageStore = cloud.areas["image"]
    return found


def check_stores(cloud: Cloud, stores: Sequence[str]) -> None:
    """Raises: Invalid, for one that is not there."""
    known = store_of(cloud).names()
    for name in stores:
        if name not in known:
            raise Invalid(f"Unknown store: {name[:64]}. The stores are {', '.join(known)}.", field="stores")


async def upload(
    ctx: RequestContext, image_id: str, data: AsyncIterator[bytes], *, length: int | None = None, where: str | None = None
) -> None:
    """Take the image's data: hashed on the way, looked into before it counts. It is `saving` meanwhile.

    length: bytes announced, which the quota is charged for at once; without it, step by step ahead of the bytes. where: a store.
    Raises: NotFound, Forbidden, Conflict, Invalid, Gone (deleted meanwhile), TooLarge, OverQuota, UnsupportedMedia.
    """
    stores = [where] if where else []
    check_stores(ctx.cloud, stores)
    data_id = ctx.new_id()
    image = await ctx.db.write(begin_in, ctx, image_id, data_id, length or 0)
    try:
        await receive(ctx, image, data, Wish(stores))
    except BaseException:
        await asyncio.shield(ctx.db.write(give_up_in, image_id, data_id, ctx.now_us))
        raise


async def begin_in(tx: Transaction, ctx: RequestContext, image_id: str, data_id: str, length: int = 0) -> Image:
    image = await get_for(tx, ctx, image_id, "upload_image")
    check_formats(image)
    return await arrive_in(tx, ctx, image, ImageStatus.SAVING, data_id, length)


def check_formats(image: Image) -> None:
    """Raises: Conflict, Invalid."""
    if image.status is not ImageStatus.QUEUED:
        raise Conflict(f"Image status transition from {image.status} to saving is not allowed")
    unset = [name for name in ("disk_format", "container_format") if getattr(image, name) is None]
    if unset:
        raise Invalid(f"Properties {', '.join(unset)} must be set prior to saving data.")


async def arrive_in(tx: Transaction, ctx: RequestContext, image: Image, status: ImageStatus, data_id: str, length: int = 0) -> Image:
    """Bytes are on their way under a new name. Raises: Conflict, OverQuota."""
    now, charged = ctx.now_us, quotas.mib(length)
    return await quotas.save(tx, image, status=status, data_id=data_id, seen_at=now, charged_mib=charged, updated_at=now)


class Wish(Struct, frozen=True):
    """What is to become of bytes. stores: none is the default; digest: what they must hash to, None is anything; staged: for an import.
    changes: of the image's other fields, when the bytes have come; properties are added to those there are.
    """

    stores: Sequence[str] = ()
    algorithm: str = HASH_ALGORITHM
    digest: str | None = None
    staged: bool = False
    changes: dict[str, Any] = {}


async def receive(ctx: RequestContext, image: Image, data: AsyncIterator[bytes], wish: Wish) -> None:
    """Raises: Gone, when the image was deleted; whatever the store says of the data."""
    data_id = image.data_id or ""
    most = ctx.settings.image.max_size_gib * GIB
    incoming = await store_of(ctx.cloud).begin(data_id, most=most, algorithm=wish.algorithm)
    clock = ctx.cloud.clock
    beat = clock.monotonic()
    finish: asyncio.Task[Stored] | None = None
    keep: asyncio.Task[Image] | None = None
    try:
        charged = image.charged_mib << 20
        async for chunk in data:
            if incoming.received + len(chunk) > charged:
                needed = quotas.mib(incoming.received + len(chunk) - charged)
                charged += await charge_ahead(ctx, image.id, data_id, needed) << 20
            await incoming.write(chunk)
            if clock.monotonic() - beat > BEAT_S:
                beat = clock.monotonic()
                await still_wanted(ctx, image.id, data_id)
        if wish.staged:
            keep = asyncio.ensure_future(ctx.db.write(staged_in, ctx, image.id, data_id, await incoming.stage()))
            await asyncio.shield(keep)
            return
        finish = asyncio.ensure_future(incoming.finish(image.disk_format or "", image.container_format or "", wish.stores))
        await wait_for(ctx, image, finish)
        stored = finish.result()
        if wish.digest not in (None, stored.digest):
            raise BackendRefused(f"os_hash_value: ({wish.digest}) not matched with actual os_hash_value: ({stored.digest})")
        await signatures.verify(ctx.cloud, store_of(ctx.cloud), image, stored)
        keep = asyncio.ensure_future(ctx.db.write(finish_in, ctx, image.id, data_id, stored, wish))
        await asyncio.shield(keep)
        await store_of(ctx.cloud).settled(data_id)
    except BaseException:
        if finish is not None and not finish.done():
            finish.cancel()
            await asyncio.wait({finish})
        if keep is None or not await kept(keep):
            await incoming.abandon()
        raise


async def kept(keep: asyncio.Task[Image]) -> bool:
    """Whether the row names the data now: whoever waited for it may have gone at the very moment of its commit."""
    await asyncio.wait({keep})
    return not keep.cancelled() and keep.exception() is None


async def wait_for(ctx: RequestContext, image: Image, finish: asyncio.Task[Stored]) -> None:
    """A conversion takes a while, and counts as moving. Raises: Gone."""
    while not finish.done():
        await asyncio.wait({finish}, timeout=BEAT_S)
        if not finish.done():
            await still_wanted(ctx, image.id, image.data_id or "")


async def charge_ahead(ctx: RequestContext, image_id: str, data_id: str, needed_mib: int) -> int:
    """MiB that were charged: a step ahead, or at the brim of the quota just what is needed. Raises: Gone, OverQuota."""
    try:
        await ctx.db.write(charge_in, ctx, image_id, data_id, STEP_MIB + needed_mib)
        return STEP_MIB + needed_mib
    except OverQuota:
        await ctx.db.write(charge_in, ctx, image_id, data_id, needed_mib)
        return needed_mib


async def charge_in(tx: Transaction, ctx: RequestContext, image_id: str, data_id: str, more_mib: int) -> None:
    """Take more of the quota for bytes that are about to come. Raises: Gone, OverQuota."""
    image = await arriving(tx, image_id, data_id)
    await quotas.save(tx, image, charged_mib=image.charged_mib + more_mib, seen_at=ctx.now_us)


async def arriving(tx: Transaction, image_id: str, data_id: str) -> Image:
    """The image, while this data is still what it waits for. Raises: Gone."""
    image = await store.find(tx, image_id)
    if image is None or image.data_id != data_id or image.status not in ARRIVING:
        raise gone(image_id)
    return image


async def still_wanted(ctx: RequestContext, image_id: str, data_id: str) -> None:
    """Raises: Gone."""
    if not await ctx.db.write(store.touch, image_id, data_id, ctx.now_us):
        raise gone(image_id)


def gone(image_id: str) -> Gone:
    return Gone(f"Image {image_id} could not be found after upload. The image may have been deleted during the upload.")


async def finish_in(tx: Transaction, ctx: RequestContext, image_id: str, data_id: str, stored: Stored, wish: Wish | None = None) -> Image:
    """The data is the image's from here on, and charged for what it is. Raises: Gone, OverQuota."""
    wish = wish or Wish()
    image = await arriving(tx, image_id, data_id)
    charged = quotas.mib(stored.size)
    stores = list(wish.stores) or [store_of(ctx.cloud).default]
    changes = wish.changes | ({"properties": image.properties | wish.changes["properties"]} if "properties" in wish.changes else {})
    image = await quotas.save(
        tx, image, charged_mib=charged, status=ImageStatus.ACTIVE, size=stored.size, virtual_size=stored.virtual_size, checksum=stored.md5,
        os_hash_algo=wish.algorithm, os_hash_value=stored.digest, bootable=stored.bootable, stores=stores, staged=None,
        updated_at=ctx.now_us, **changes,
    )  # fmt: skip
    await replicas.kept_in(tx, ctx.cloud, data_id, stores)
    return await lies_in(tx, ctx, image, stores)


async def lies_in(tx: Transaction, ctx: RequestContext, image: Image, stores: Sequence[str], failed: str | None = None) -> Image:
    """An import has put the data into these stores (and could not into `failed`); with the last one its task ends."""
    if image.task_id is None:
        return image
    rest = [name for name in (image.importing_to or "").split(",") if name and name not in stores and name != failed]
    lost = [name for name in [*(image.failed_import or "").split(","), failed] if name]
    ended = {} if rest else {"task_id": None}
    if not rest:
        message = f"The data could not be put into {', '.join(lost)}." if lost else ""
        await tasks.finish(tx, image.task_id, TaskStatus.SUCCESS, message, {"image_id": image.id}, ctx.now_us)
    return await quotas.save(tx, image, importing_to=",".join(rest), failed_import=",".join(lost), **ended)


async def staged_in(tx: Transaction, ctx: RequestContext, image_id: str, data_id: str, size: int) -> Image:
    """All bytes wait for their import. Raises: Gone, OverQuota."""
    image = await arriving(tx, image_id, data_id)
    charged = quotas.mib(size)
    await replicas.arrived_in(tx, ctx.cloud, data_id)
    return await quotas.save(tx, image, charged_mib=charged, size=size, staged=size, updated_at=ctx.now_us)


async def give_up_in(tx: Transaction, image_id: str, data_id: str, now_us: int) -> None:
    """Back to `queued`, unless the upload came to its end, was staged, or the image went."""
    image = await store.find(tx, image_id)
    waits = image is not None and image.status in (ImageStatus.SAVING, ImageStatus.UPLOADING) and image.staged is None
    if image is not None and waits and image.data_id == data_id:
        await queue_again(tx, image, now_us)
    tx.wake("image-files")


async def queue_again(tx: Transaction, image: Image, now_us: int, **changes: Any) -> Image:
    """Its data will not come; another may."""
    return await quotas.save(
        tx, image, status=ImageStatus.QUEUED, data_id=None, charged_mib=0, size=None, staged=None, updated_at=now_us, **changes
    )


async def adopt(ctx: RequestContext, image_id: str) -> Image:
    """Make what a node left under `incoming/<data_id>` the data of an image made with `from_node`. Safe to repeat.

    Raises: NotFound, when image or bytes are not there; UnsupportedMedia, when the content is unsafe or beyond the quota: then it is `killed`.
    """
    image = await store.find(ctx.db, image_id)
    if image is None or image.data_id is None:
        raise NotFound(f"No image found with ID {image_id}")
    if image.status is not ImageStatus.SAVING:
        return image
    await ctx.db.write(store.touch, image_id, image.data_id, ctx.now_us)
    try:
        stored = await store_of(ctx.cloud).adopt(image.data_id, image.disk_format or "raw", image.container_format or "bare")
        image = await ctx.db.write(finish_in, ctx, image_id, image.data_id, stored)
        await store_of(ctx.cloud).settled(image.data_id or "")
        return image
    except Gone:
        await store_of(ctx.cloud).remove(image.data_id)
        raise
    except (UnsupportedMedia, OverQuota) as refused:
        await ctx.db.write(fail_in, image_id, ctx.now_us)
        raise UnsupportedMedia(refused.message, detail=refused.detail) from None


async def fail_in(tx: Transaction, image_id: str, now_us: int) -> None:
    """A node's data will not come: the image is `killed`. Nothing, when it is not waiting for any."""
    image = await store.find(tx, image_id)
    if image is not None and image.status is ImageStatus.SAVING and image.from_node:
        await quotas.save(tx, image, status=ImageStatus.KILLED, data_id=None, charged_mib=0, updated_at=now_us)
        tx.wake("image-files")


async def download(ctx: RequestContext, image_id: str) -> Image:
    """The image whose data the caller may read now; `data_id` is None when there is none yet. Raises: NotFound, Forbidden."""
    image = await get_for(ctx.db, ctx, image_id, "download_image")
    if image.status is ImageStatus.DEACTIVATED and not ctx.is_admin:
        raise Forbidden("The requested image has been deactivated. Image data download is forbidden.")
    return image


def read(ctx: RequestContext, image: Image, start: int, length: int) -> AsyncIterator[bytes]:
    """The bytes [start, start+length) of an image that `download` gave."""
    assert image.data_id
    return store_of(ctx.cloud).read(image.data_id, start, length)


async def begin_read(ctx: RequestContext, image: Image, start: int, length: int) -> AsyncIterator[bytes]:
    """The same, once the first piece is there: a store that is lost is told of before an answer has begun. Raises: NotFound, Unavailable."""
    await store_of(ctx.cloud).asked_for(image.data_id or "", image.id)
    pieces = read(ctx, image, start, length)
    try:
        first = await anext(pieces)
    except StopAsyncIteration:
        first = b""

    async def going_on() -> AsyncIterator[bytes]:
        async with aclosing(pieces):
            yield first
            async for piece in pieces:
                yield piece

    return going_on()
