"""Does what tasks are for: brings an import's data, puts it into every store, and forgets tasks long after their end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from msgspec.structs import replace

from moln.image.drivers.preparing import Preparation, converted
from moln.image.model.images import HASH_ALGORITHM, Image, ImageStatus
from moln.image.model.signatures import is_signed
from moln.image.model.tasks import Task, TaskType
from moln.image.ops import data, fetching, imports, protections, quotas, replicas, signatures
from moln.image.store import images as image_store
from moln.image.store import tasks as store
from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import BackendRefused, Failure, NotFound
from moln.kernel.work import Periodic, Reconciler, Work

AT_MOST_S = 6 * 3600.0  # a download may take so long
SAID_EVERY = 64 << 20  # bytes between two words about how far it came
MIB = 1 << 20
TAKEN = ("hw_", "trait:", "os_distro", "os_secure_boot", "os_type")  # Glance's `extra_properties` of its download


async def find(db: Reader, now_us: int) -> list[Task]:
    return await store.unfinished(db)


async def settle(work: Work, task: Task) -> None:
    """Go on where the image's row says that it stands. Raises: BackendRefused and whatever else the data is refused for."""
    image = await still_its(work.ctx, task)
    if image.status is ImageStatus.IMPORTING:
        await work.write(store.start, task.id, task.message, work.now_us)
        await bring(work.ctx, task, image)
        image = await image_store.find(work.db, image.id) or image
    if image.task_id == task.id:
        await spread(work, task, image)


async def still_its(ctx: RequestContext, task: Task) -> Image:
    """The image, while it waits for this task. Raises: BackendRefused."""
    image = await image_store.find(ctx.db, task.image_id or "")
    if image is None or image.task_id != task.id:
        raise BackendRefused("The image was deleted.")
    return image


def waiting(image: Image) -> list[str]:
    """The stores that are still to have the data."""
    return [name for name in (image.importing_to or "").split(",") if name]


def all_must(task: Task) -> bool:
    """Whether the import fails when one store does."""
    return bool(task.input.get("import_req", {}).get("all_stores_must_succeed", True))


async def bring(ctx: RequestContext, task: Task, image: Image) -> None:
    """Make the bytes that were staged, or that an address holds, the image's."""
    stores = waiting(image)
    first = stores if all_must(task) else stores[:1]
    if image.staged is not None:
        await keep_staged(ctx, image, first)
        return
    await data.store_of(ctx.cloud).remove(image.data_id or "", first)  # what an earlier try left
    if task.input.get("import_req", {}).get("method", {}).get("name") == imports.GLANCE:
        await take_over(ctx, task, image, first)
        return
    wanted = await preparation(ctx, image) if task.type is TaskType.API_IMAGE_IMPORT else None
    validation = task.input.get("validation_data") or {}
    wish = data.Wish(first, validation.get("os_hash_algo", HASH_ALGORITHM), validation.get("os_hash_value"))
    fetched = await fetching.web_of(ctx.cloud).open(address(task))
    async with aclosing(fetched.pieces()) as pieces:
        await data.receive(ctx, image, telling(ctx, task, pieces, fetched.length), data.Wish(staged=True) if wanted else wish)
    if wanted:
        await keep_staged(ctx, await still_its(ctx, task), first)


async def keep_staged(ctx: RequestContext, image: Image, stores: list[str]) -> None:
    """What was staged becomes the image's data, unpacked and converted where an operator wants it. Raises: BackendRefused."""
    here, data_id, container = data.store_of(ctx.cloud), image.data_id or "", image.container_format or ""
    wanted, disk_format, changes = await preparation(ctx, image), image.disk_format or "", {}
    try:
        if wanted:
            await here.prepare(data_id, disk_format, container, wanted)
            disk_format = converted(disk_format, container, wanted.output)
            changes = {"disk_format": disk_format} if disk_format != image.disk_format else {}
        stored = await here.adopt(data_id, disk_format, container, stores)
    except NotFound:
        raise BackendRefused("The staged data is lost.") from None
    await signatures.verify(ctx.cloud, here, image, stored)
    await ctx.db.write(data.finish_in, ctx, image.id, data_id, stored, data.Wish(stores, changes=changes))
    await here.settled(data_id)


async def preparation(ctx: RequestContext, image: Image) -> Preparation | None:
    """What is done to an import's bytes before they count; a signature is of the bytes that came, which therefore stay."""
    settings = ctx.settings.image
    output = "" if ctx.settings.simulate else settings.import_format  # a simulation has no qemu-img
    if not (settings.import_unpack or output) or is_signed(image.properties):
        return None
    most = settings.max_size_gib * data.GIB
    free = await quotas.free_bytes(ctx, image)
    return Preparation(settings.import_unpack, output, most if free is None else min(most, free))


async def take_over(ctx: RequestContext, task: Task, image: Image, stores: list[str]) -> None:
    """The data of another image, with its formats and those of its properties that say how it boots. Raises: BackendRefused."""
    source = await image_store.find(ctx.db, task.source_id or "")
    if source is None or source.data_id is None or source.size is None or source.status is not ImageStatus.ACTIVE:
        raise BackendRefused("That region has no such image that may be read.")
    rules = protections.of(ctx)
    kept = {k: v for k, v in source.properties.items() if k.startswith(TAKEN) and (not rules or rules.allows(k, "create", frozenset()))}
    changes = {"disk_format": source.disk_format, "container_format": source.container_format, "properties": kept}
    async with aclosing(data.read(ctx, source, 0, source.size)) as pieces:
        pieces = telling(ctx, task, pieces, source.size)
        after = replace(image, **changes | {"properties": image.properties | kept})
        await data.receive(ctx, after, pieces, data.Wish(stores, changes=changes))


def address(task: Task) -> str:
    """From where the task fetches."""
    match task.type:
        case TaskType.IMPORT:
            return str(task.input["import_from"])
        case TaskType.LOCATION_IMPORT:
            return str(task.input["loc_url"])
    return str(task.input["import_req"]["method"]["uri"])


async def telling(ctx: RequestContext, task: Task, pieces: AsyncIterator[bytes], length: int | None) -> AsyncIterator[bytes]:
    """The same bytes, and now and then a word in the task about how many they were."""
    done = told = 0
    async for piece in pieces:
        yield piece
        done += len(piece)
        if done - told >= SAID_EVERY:
            told = done
            of = f" of {length // MIB}" if length else ""
            await ctx.db.write(store.start, task.id, f"Copied {done // MIB}{of} MiB", ctx.now_us)


async def spread(work: Work, task: Task, image: Image) -> None:
    """Copy the data into the stores that are still to have it. Raises: BackendRefused, when one cannot take it and every one must."""
    here = data.store_of(work.cloud)
    for name in waiting(image):
        failed = None
        try:
            await replicas.ensure(work.cloud, image)
            async with here.moving(image.data_id or ""):
                await here.copy(image.data_id or "", name)
        except Failure as refused:
            if all_must(task):
                raise BackendRefused(f"The store {name} could not take the data.", detail=refused.detail or refused.message) from None
            failed = name
        await work.write(copied_in, work.ctx, image.id, name, failed)


async def copied_in(tx: Transaction, ctx: RequestContext, image_id: str, name: str, failed: str | None) -> None:
    image = await image_store.find(tx, image_id)
    if image is not None and image.task_id is not None:
        if failed is None and name not in image.stores:
            image = await image_store.save(tx, image, stores=[*image.stores, name], updated_at=ctx.now_us)
        await data.lies_in(tx, ctx, image, [name] if failed is None else [], failed)


async def fail(work: Work, task: Task, reason: str) -> None:
    await work.write(imports.fail_in, task, reason, work.now_us)


async def forget(work: Work) -> None:
    await work.write(store.forget, work.now_us)


IMAGE_TASKS = Reconciler("image-tasks", find=find, settle=settle, fail=fail, at_once=4, at_most_s=AT_MOST_S)
OLD_TASKS = Periodic("image-tasks-expire", run=forget, every_s=3600.0)
