"""Interoperable import (image api-ref, "Interoperable image import"): what a caller asks for; work/tasks.py does it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

from msgspec import Struct

from moln.image.model.images import DIGITS, HASH_ALGORITHM, Image, ImageStatus
from moln.image.model.tasks import Task, TaskStatus, TaskType
from moln.image.ops import data, fetching, images, quotas, tasks
from moln.image.ops.access import get_for, get_for_service, get_visible, require
from moln.image.store import images as store
from moln.image.store import tasks as task_store
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict, Forbidden, Invalid, NotFound

DIRECT, WEB, COPY, GLANCE = "glance-direct", "web-download", "copy-image", "glance-download"
UUID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class ImportRequest(Struct, frozen=True):
    """body: as it came, for the task to show. stores: where the data shall lie, none is the default one."""

    method: str
    body: dict[str, Any]
    uri: str | None = None
    stores: Sequence[str] = ()
    all_stores: bool = False
    all_must_succeed: bool = True


def methods(ctx: RequestContext) -> list[str]:
    """The import methods there are; a copy needs a second store."""
    found = list(ctx.settings.image.import_methods)
    return found if len(data.store_of(ctx.cloud).names()) > 1 else [name for name in found if name != COPY]


async def stage(ctx: RequestContext, image_id: str, pieces: AsyncIterator[bytes], *, length: int | None = None) -> None:
    """Take bytes that a later import makes the image's; it is `uploading` meanwhile.

    Raises: NotFound, Forbidden, Conflict, Gone, TooLarge, OverQuota.
    """
    if DIRECT not in methods(ctx):
        raise NotFound(f"'{DIRECT}' method is not available at this site.")
    data_id = ctx.new_id()
    image = await ctx.db.write(stage_in, ctx, image_id, data_id, length or 0)
    try:
        await data.receive(ctx, image, pieces, data.Wish(staged=True))
    except BaseException:
        await asyncio.shield(ctx.db.write(data.give_up_in, image_id, data_id, ctx.now_us))
        raise


async def stage_in(tx: Transaction, ctx: RequestContext, image_id: str, data_id: str, length: int) -> Image:
    image = await get_for(tx, ctx, image_id, "modify_image")
    if image.status is not ImageStatus.QUEUED:
        raise Conflict(f"Image status transition from {image.status} to uploading is not allowed")
    return await data.arrive_in(tx, ctx, image, ImageStatus.UPLOADING, data_id, length)


async def start(ctx: RequestContext, image_id: str, asked: ImportRequest) -> None:
    """Begin an import. Raises: NotFound, Forbidden, Conflict, Invalid."""
    if asked.method not in methods(ctx):
        raise Invalid(f"Unknown import method name '{asked.method[:64]}'.", field="name")
    await ctx.db.write(start_in, ctx, image_id, asked)


async def start_in(tx: Transaction, ctx: RequestContext, image_id: str, asked: ImportRequest) -> Task | None:
    """None: there is nothing to copy."""
    image, member = await get_visible(tx, ctx, image_id)
    check_state(image, asked.method)
    require(ctx, "copy_image" if asked.method == COPY else "modify_image", image, member)
    if asked.method == WEB:
        fetching.check_address(ctx, asked.uri, "uri")
    source_id = await find_source(tx, ctx, asked.body["method"]) if asked.method == GLANCE else None
    if image.task_id is not None:
        raise Conflict(f"New operation on image '{image_id}' is not permitted as prior operation is still in progress")
    stores = stores_for(ctx, image, asked)
    if not stores:
        return None
    shown = {"image_id": image_id, "import_req": asked.body, "backend": stores}
    task = await tasks.add_in(tx, ctx, TaskType.API_IMAGE_IMPORT, image_id, shown, source_id)
    if asked.method in (WEB, GLANCE):
        image = await data.arrive_in(tx, ctx, image, ImageStatus.IMPORTING, ctx.new_id())
    status = image.status if asked.method == COPY else ImageStatus.IMPORTING
    properties = image.properties if asked.method == COPY else image.properties | injected(ctx)
    await quotas.save(
        tx, image, status=status, task_id=task.id, importing_to=",".join(stores), failed_import="", updated_at=ctx.now_us, properties=properties
    )  # fmt: skip
    return task


def injected(ctx: RequestContext) -> dict[str, str]:
    """What an operator has every import bear (Glance's inject_image_metadata)."""
    settings = ctx.settings.image
    return {} if ctx.roles & {role.lower() for role in settings.import_properties_except} else dict(settings.import_properties)


async def find_source(tx: Transaction, ctx: RequestContext, method: dict[str, Any]) -> str | None:
    """The image of another Glance that is asked for. There is one region: None, when it is another's, or not the caller's to read.

    Raises: Invalid.
    """
    for name in ("glance_region", "glance_image_id"):
        if not isinstance(method.get(name), str):
            raise Invalid(f"'{name}' needs to be set for {GLANCE} import method", field=name)
    if not UUID.fullmatch(method["glance_image_id"]):
        raise Invalid(f"Remote image id does not look like a UUID: {method['glance_image_id'][:64]}", field="glance_image_id")
    if method["glance_region"] != ctx.settings.region:
        return None
    try:
        source = await get_for(tx, ctx, method["glance_image_id"], "download_image")
    except (NotFound, Forbidden):
        return None
    return source.id if source.status is ImageStatus.ACTIVE and source.data_id else None


def check_state(image: Image, method: str) -> None:
    """Whether the image is where the method begins. Raises: Conflict."""
    status = image.status
    if method == COPY and status is not ImageStatus.ACTIVE:
        raise Conflict("Only images with status active can be targeted for copying")
    if method != COPY and status is ImageStatus.ACTIVE:
        raise Conflict("Image with status active cannot be target for import")
    if method in (WEB, GLANCE) and status is not ImageStatus.QUEUED:
        raise Conflict(f"Image needs to be in 'queued' state to use '{method}' method")
    if method == DIRECT and (status is not ImageStatus.UPLOADING or image.staged is None):
        raise Conflict(f"Image needs to be staged before '{method}' method can be used")
    for name in ("container_format", "disk_format"):
        if getattr(image, name) is None:
            raise Conflict(f"'{name}' needs to be set before import")


def stores_for(ctx: RequestContext, image: Image, asked: ImportRequest) -> list[str]:
    """Where the data shall lie. Raises: Invalid, Conflict."""
    here = data.store_of(ctx.cloud)
    if asked.all_stores and asked.stores:
        raise Invalid("All_stores parameter can't be used with x-image-meta-store header or stores", field="all_stores")
    try:
        data.check_stores(ctx.cloud, asked.stores)
    except Invalid as unknown:
        raise Conflict(unknown.message, field="stores") from None
    stores = here.names() if asked.all_stores else list(dict.fromkeys(asked.stores)) or [here.default]
    if asked.method != COPY:
        return stores
    if image.data_id is None:
        raise Conflict("The image has no data that could be copied.")
    there = [name for name in stores if name in image.stores]
    if there and not asked.all_stores:
        raise Invalid(f"Image is already present at store '{there[0]}'", field="stores")
    return [name for name in stores if name not in there]


async def create_from(ctx: RequestContext, asked: dict[str, Any], spec: images.ImageSpec) -> Task:
    """The tasks API's `import`: a new image from an address. Raises: Forbidden, Invalid, Conflict, OverQuota."""
    tasks.check_import(ctx, asked)
    images.authorise(ctx, spec)
    return await ctx.db.write(create_from_in, ctx, asked, spec)


async def create_from_in(tx: Transaction, ctx: RequestContext, asked: dict[str, Any], spec: images.ImageSpec) -> Task:
    image = await images.create_in(tx, ctx, spec)
    data.check_formats(image)
    return await fetch_in(tx, ctx, image, TaskType.IMPORT, asked)


async def fetch_in(tx: Transaction, ctx: RequestContext, image: Image, kind: TaskType, asked: dict[str, Any]) -> Task:
    """The image's data will be fetched from the address that the task names."""
    task = await tasks.add_in(tx, ctx, kind, image.id, asked)
    image = await data.arrive_in(tx, ctx, image, ImageStatus.IMPORTING, ctx.new_id())
    await quotas.save(tx, image, task_id=task.id, importing_to=data.store_of(ctx.cloud).default, failed_import="")
    return task


async def add_location(ctx: RequestContext, image_id: str, url: str, validation: dict[str, Any] | None) -> None:
    """The image's data is what an address holds now: it is fetched and kept, so that nobody can swap it later.

    Raises: NotFound, Forbidden, Conflict, Invalid.
    """
    await ctx.db.write(add_location_in, ctx, image_id, url, validation)


async def add_location_in(tx: Transaction, ctx: RequestContext, image_id: str, url: str, validation: dict[str, Any] | None) -> Task:
    image = await get_for_service(tx, ctx, image_id, "add_image_location")
    if image.status is not ImageStatus.QUEUED:
        raise Conflict(f"It's not allowed to add locations if image status is {image.status}.")
    check_validation(validation or {})
    fetching.check_address(ctx, url, "url")
    data.check_formats(image)
    return await fetch_in(
        tx, ctx, image, TaskType.LOCATION_IMPORT, {"image_id": image_id, "loc_url": url, "validation_data": validation or {}}
    )


def check_validation(validation: dict[str, Any]) -> None:
    """Raises: Invalid, when a digest is not one of its algorithm."""
    if not validation:
        return
    algorithm, digest = validation.get("os_hash_algo"), validation.get("os_hash_value")
    if not isinstance(algorithm, str) or algorithm not in DIGITS:
        raise Invalid(f"os_hash_algo must be one of {', '.join(DIGITS)}.", field="os_hash_algo")
    wanted = DIGITS[algorithm]
    if not isinstance(digest, str) or len(digest) != wanted or set(digest) - set("0123456789abcdef"):
        raise Invalid(f"os_hash_value for {algorithm} must be {wanted} lower-case hexadecimal digits.", field="os_hash_value")


async def locations(ctx: RequestContext, image_id: str) -> list[dict[str, Any]]:
    """Where the data lies, for services. Raises: NotFound, Forbidden."""
    image = await get_for_service(ctx.db, ctx, image_id, "fetch_image_location")
    here = data.store_of(ctx.cloud)
    return [{"url": here.url(name, image.data_id or ""), "metadata": {"store": name}} for name in image.stores]


async def drop_from_store(ctx: RequestContext, image_id: str, name: str) -> None:
    """The data leaves one of several stores; work/files.py removes it there. Raises: NotFound, Forbidden, Conflict."""
    await ctx.db.write(drop_from_store_in, ctx, image_id, name)


async def drop_from_store_in(tx: Transaction, ctx: RequestContext, image_id: str, name: str) -> None:
    image = await get_for(tx, ctx, image_id, "delete_image_location")
    if name not in image.stores:
        raise NotFound(f"Image {image_id} was not found in store {name[:64]}.")
    if image.protected:
        raise Forbidden(f"Image {image_id} is protected and cannot be deleted.")
    if image.task_id is not None:
        raise Conflict(f"Image {image_id} is being imported.")
    rest = [store_id for store_id in image.stores if store_id != name]
    if not rest:
        raise Forbidden("Cannot delete image data from the only store containing it. Consider deleting the image instead.")
    await quotas.save(tx, image, stores=rest, updated_at=ctx.now_us)
    tx.wake("image-files")


async def fail_in(tx: Transaction, task: Task, reason: str, now_us: int) -> None:
    """A task ends badly: what came of its image's data goes, and the image waits for another; one that it made goes, too."""
    await task_store.finish(tx, task.id, TaskStatus.FAILURE, reason, None, now_us)
    image = await store.find(tx, task.image_id or "")
    if image is None or image.task_id != task.id:
        return
    ended = {"task_id": None, "failed_import": ",".join(filter(None, [image.failed_import, image.importing_to])), "importing_to": ""}
    if image.status is not ImageStatus.IMPORTING:
        await quotas.save(tx, image, **ended)
        return
    image = await data.queue_again(tx, image, now_us, **ended)
    if task.type is TaskType.IMPORT:
        await images.forget(tx, image)
    tx.wake("image-files")


async def of_image(ctx: RequestContext, image_id: str) -> list[Task]:
    """The caller's own tasks for an image. Raises: NotFound."""
    await get_for(ctx.db, ctx, image_id, "get_image")
    found = await task_store.of_image(ctx.db, image_id)
    return [task for task in found if ctx.is_admin or (ctx.project_id and task.project_id == ctx.project_id)]


__all__ = ["COPY", "DIRECT", "HASH_ALGORITHM", "WEB", "ImportRequest", "add_location", "create_from", "methods", "stage", "start"]
