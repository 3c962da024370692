"""What a caller may do with images; their data is in data.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from moln.image.model.images import MAX_PROPERTIES, MAX_TAGS, Image, ImageStatus, target
from moln.image.ops import protections, quotas
from moln.image.ops.access import SERVICE, get_for, missing, require
from moln.image.store import images as store
from moln.kernel.context import RequestContext
from moln.kernel.db import Duplicate, Reader, Transaction
from moln.kernel.errors import Conflict, Forbidden, Invalid, TooLarge


class ImageSpec(Struct, frozen=True):
    """What a new image is to be. Defaults are Glance's."""

    name: str | None = None
    id: str | None = None
    owner: str | None = None
    visibility: str = "shared"
    container_format: str | None = None
    disk_format: str | None = None
    min_disk: int = 0
    min_ram: int = 0
    protected: bool = False
    os_hidden: bool = False
    properties: dict[str, str] = {}
    tags: list[str] = []


async def create(ctx: RequestContext, spec: ImageSpec) -> Image:
    """Record an image without data (`queued`). Raises: Forbidden, Conflict, TooLarge."""
    authorise(ctx, spec)
    return protections.shown(ctx, await ctx.db.write(create_in, ctx, spec))


def authorise(ctx: RequestContext, spec: ImageSpec) -> None:
    """Raises: Forbidden, when the caller may make no such image."""
    owner = spec.owner if spec.owner is not None else ctx.project_id
    if not ctx.allows(SERVICE, "add_image", {"project_id": owner, "owner": owner, "visibility": spec.visibility}):
        if spec.owner is not None and spec.owner != ctx.project_id:
            raise Forbidden(f"You are not permitted to create images owned by '{owner}'.")
        raise Forbidden("You are not authorized to complete add_image action.")
    protections.check_create(ctx, spec.properties)


async def create_in(tx: Transaction, ctx: RequestContext, spec: ImageSpec, *, from_node: bool = False) -> Image:
    """The same in a caller's transaction, who has authorised it.

    from_node: the data will be left by a node under `incoming/<image.data_id>` of the store, and `data.adopt` makes it the
    image's; the image is `saving` from the start.
    """
    check_bounds(spec.properties, spec.tags)
    now = ctx.now_us
    image = Image(
        id=spec.id or ctx.new_id(),
        project_id=spec.owner if spec.owner is not None else ctx.project_id,
        name=spec.name,
        status=ImageStatus.SAVING if from_node else ImageStatus.QUEUED,
        visibility=spec.visibility,
        container_format=spec.container_format,
        disk_format=spec.disk_format,
        created_at=now,
        updated_at=now,
        min_disk=spec.min_disk,
        min_ram=spec.min_ram,
        protected=spec.protected,
        os_hidden=spec.os_hidden,
        data_id=ctx.new_id() if from_node else None,
        from_node=from_node,
        seen_at=now,
        properties=spec.properties,
        tags=list(dict.fromkeys(spec.tags)),
    )
    check_visibility(ctx, image, spec.visibility)
    await quotas.add(tx, image)
    try:
        await store.add(tx, image)
    except Duplicate:
        raise Conflict(f"Image ID {image.id} already exists!") from None
    tx.changed("images", image.id)
    return image


async def create_empty_in(tx: Transaction, ctx: RequestContext, spec: ImageSpec) -> Image:
    """An image that is active and has no data: its properties say all (Nova's of servers that boot from volumes).

    Raises: Conflict, TooLarge, OverQuota.
    """
    image = await create_in(tx, ctx, spec)
    image = await store.save(tx, image, status=ImageStatus.SAVING)
    return await store.save(tx, image, status=ImageStatus.ACTIVE, size=0, updated_at=ctx.now_us)


def check_visibility(ctx: RequestContext, image: Image, visibility: str) -> None:
    """Raises: Forbidden, when the caller may not make it so widely known."""
    if visibility == "public":
        require(ctx, "publicize_image", image)
    elif visibility == "community":
        require(ctx, "communitize_image", image)


def check_bounds(properties: dict[str, str], tags: Sequence[str]) -> None:
    """Raises: TooLarge, at Glance's bounds."""
    if len(properties) > MAX_PROPERTIES:
        raise TooLarge(f"The limit has been exceeded on the number of allowed image properties. Maximum: {MAX_PROPERTIES}.")
    if len(set(tags)) > MAX_TAGS:
        raise TooLarge(f"The limit has been exceeded on the number of allowed image tags. Maximum: {MAX_TAGS}.")


async def show(ctx: RequestContext, image_id: str) -> Image:
    """Raises: NotFound."""
    return protections.shown(ctx, await get_for(ctx.db, ctx, image_id, "get_image"))


class Wanted(Struct, frozen=True):
    """A list's conditions. where: on columns, as Listing takes them."""

    where: list[tuple[str, str, Any]] = []
    tags: list[str] = []
    properties: dict[str, str] = {}
    visibility: str | None = None
    member_status: str = "accepted"


async def index(ctx: RequestContext, wanted: Wanted, *, sort: Sequence[tuple[str, str]], marker: str | None, limit: int) -> list[Image]:
    """One page of the images that the caller may know of. Raises: Forbidden, Invalid."""
    where = conditions(ctx, wanted)
    if where is None:
        return []
    found = await store.LISTING.page(ctx.db, where, sort=sort, marker=marker, limit=limit)
    return [protections.shown(ctx, i) for i in found if ctx.allows(SERVICE, "get_image", target(i, ctx.project_id))]


def conditions(ctx: RequestContext, wanted: Wanted) -> list[tuple[str, str, Any]] | None:
    """What a listing is bound by, for this caller; None, when nothing may be found. Raises: Forbidden."""
    if not ctx.allows(SERVICE, "get_images", {"project_id": ctx.project_id}):
        raise Forbidden("You are not authorized to complete get_images action.")
    where = [*wanted.where, ("status", "ne", "killed")]
    where += [("label", "eq", f"t:{tag}") for tag in wanted.tags]
    where += [("label", "eq", f"p:{name}={value}") for name, value in wanted.properties.items()]
    if not ctx.is_admin:
        where.append((f"visible_{wanted.member_status}", "eq", ctx.project_id or ""))
    if wanted.visibility is None:
        where.append(("mine_or_not_community", "eq", ctx.project_id or ""))
    elif wanted.visibility != "all":
        where.append(("visibility", "eq", wanted.visibility))
    rules = protections.of(ctx)
    if rules and not all(rules.allows(name, "read", ctx.roles) for name in wanted.properties):
        return None  # a filter would tell what may not be read
    return where


class Change(Struct, frozen=True):
    """One step of a PATCH. op: add, replace or remove. strict: the old format's `add`, which refuses what is there."""

    op: str
    name: str
    value: Any = None
    strict: bool = False


COLUMNS = {
    "name", "visibility", "container_format", "disk_format", "min_disk", "min_ram", "protected", "os_hidden", "tags", "owner",
}  # fmt: skip


async def update(ctx: RequestContext, image_id: str, changes: list[Change]) -> Image:
    """Apply every change, or none. Raises: NotFound, Forbidden, Conflict, TooLarge."""
    return protections.shown(ctx, await ctx.db.write(update_in, ctx, image_id, changes))


async def update_in(tx: Transaction, ctx: RequestContext, image_id: str, changes: list[Change]) -> Image:
    image = await get_for(tx, ctx, image_id, "get_image")
    if not changes:
        return image
    require(ctx, "modify_image", image)
    after = image
    for change in changes:
        after = apply(ctx, after, change)
    check_bounds(after.properties, after.tags)
    fields = {f: getattr(after, f) for f in Image.__struct_fields__ if getattr(after, f) != getattr(image, f)}
    return await quotas.save(tx, image, **fields, updated_at=ctx.now_us)


def apply(ctx: RequestContext, image: Image, change: Change) -> Image:
    """The image after one change. Raises: Forbidden, Conflict; NotFound, for a property that the caller may not see."""
    name = change.name
    if name not in COLUMNS:
        protections.check_change(ctx, image, name, change.op)
        properties = dict(image.properties)
        if change.op in ("remove", "replace") and name not in properties:
            raise Conflict(f"Property {name} does not exist.")
        if change.op == "add" and change.strict and name in properties:
            raise Conflict(f"Property {name} already present.")
        if change.op == "remove":
            del properties[name]
        else:
            properties[name] = change.value
        return replace(image, properties=properties)
    if change.op == "remove":
        raise Forbidden(f"Property {name} may not be removed.")
    if change.op == "add" and change.strict:
        raise Conflict(f"Property {name} already present.")
    if name in ("disk_format", "container_format") and image.status is not ImageStatus.QUEUED:
        raise Forbidden(f"Attribute {name} can be only replaced for a queued image.")
    if name == "owner":
        if not ctx.is_admin:
            raise Forbidden("Owner can't be updated by non admin.")
        return replace(image, project_id=change.value)
    if name == "visibility" and change.value != image.visibility:
        check_visibility(ctx, image, change.value)
    if name == "tags":
        return replace(image, tags=list(dict.fromkeys(change.value)))
    return replace(image, **{name: change.value})


async def delete(ctx: RequestContext, image_id: str) -> None:
    """Forget the image; work/files.py removes its data. Raises: NotFound, Forbidden."""
    await ctx.db.write(delete_in, ctx, image_id)


async def delete_in(tx: Transaction, ctx: RequestContext, image_id: str) -> None:
    image = await get_for(tx, ctx, image_id, "delete_image")
    if image.protected:
        raise Forbidden(f"Image {image_id} is protected and cannot be deleted.")
    await forget(tx, image)


async def forget(tx: Transaction, image: Image) -> None:
    """The image goes, what it was charged for is given back, and a task that works on it ends. Raises: Conflict."""
    await store.remove(tx, image)
    await quotas.drop(tx, image)
    tx.wake("image-files")
    if image.task_id is not None:
        tx.wake("image-tasks", image.task_id)


async def set_tag(ctx: RequestContext, image_id: str, tag: str, *, present: bool) -> None:
    """Add a tag (it may be there) or take it away (it must be there). Raises: NotFound, Forbidden, TooLarge."""
    await ctx.db.write(set_tag_in, ctx, image_id, tag, present=present)


async def set_tag_in(tx: Transaction, ctx: RequestContext, image_id: str, tag: str, *, present: bool) -> None:
    image = await get_for(tx, ctx, image_id, "modify_image")
    if present and tag in image.tags:
        return
    if not present and tag not in image.tags:
        raise missing(image_id)
    tags = [*image.tags, tag] if present else [t for t in image.tags if t != tag]
    check_bounds({}, tags)
    await store.save(tx, image, tags=tags, updated_at=ctx.now_us)


async def set_active(ctx: RequestContext, image_id: str, *, active: bool) -> None:
    """Deactivate or reactivate. Raises: NotFound, Forbidden."""
    await ctx.db.write(set_active_in, ctx, image_id, active=active)


async def set_active_in(tx: Transaction, ctx: RequestContext, image_id: str, *, active: bool) -> None:
    image = await get_for(tx, ctx, image_id, "reactivate" if active else "deactivate")
    status = ImageStatus.ACTIVE if active else ImageStatus.DEACTIVATED
    if image.status not in (ImageStatus.ACTIVE, ImageStatus.DEACTIVATED):
        word = "reactivating" if active else "deactivating"
        raise Forbidden(f"Not allowed {word} image in status '{image.status}'")
    if image.status is not status:
        await store.save(tx, image, status=status, updated_at=ctx.now_us)


async def find(db: Reader, image_id: str) -> Image | None:
    """The image, whoever asks: for the areas above, which asked in their user's name before."""
    return await store.find(db, image_id)


async def awaits(db: Reader, image_id: str, data_id: str) -> bool:
    """Whether the image is one that a node brings the data of, by this name, and it has not come."""
    image = await store.find(db, image_id)
    return image is not None and image.from_node and image.status is ImageStatus.SAVING and image.data_id == data_id


async def find_for(db: Reader, ctx: RequestContext, image_id: str) -> Image:
    """The image, if the caller may know of it. Raises: NotFound."""
    return await get_for(db, ctx, image_id, "get_image")


async def for_boot(db: Reader, ctx: RequestContext, image_id: str) -> Image:
    """The image a server or volume is to begin from; its raw base is `data_id` in the store.

    Raises: NotFound, when the caller may not know of it; Invalid, when it cannot be booted now.
    """
    image = await find_for(db, ctx, image_id)
    check_bootable(image)
    return image


def check_bootable(image: Image) -> None:
    """Raises: Invalid, when no server or volume can begin from it now."""
    if image.status is not ImageStatus.ACTIVE:
        raise Invalid(f"Image {image.id} is not active.")
    if not image.bootable or image.data_id is None:
        raise Invalid(f"Image {image.id} is unacceptable: it holds no disk that can be booted.")


__all__ = ["Change", "ImageSpec", "Wanted", "create", "create_in", "delete", "find", "for_boot", "index", "show", "update"]
