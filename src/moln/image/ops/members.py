"""Sharing an image with other projects (image api-ref, "Sharing")."""

from __future__ import annotations

from moln.image.model.images import MAX_MEMBERS, Image, Member, target
from moln.image.ops.access import SERVICE, get_visible, missing, require
from moln.image.store import members as store
from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Conflict, Forbidden, NotFound, TooLarge


async def get_shared(db: Reader, ctx: RequestContext, image_id: str, rule: str) -> tuple[Image, Member | None]:
    """The image, if it is shared and the caller may do `rule`. Raises: NotFound, Forbidden."""
    image, member = await get_visible(db, ctx, image_id)
    require(ctx, rule, image, member)
    if image.visibility != "shared":
        raise Forbidden("Only shared images have members.")
    return image, member


async def create(ctx: RequestContext, image_id: str, project_id: str) -> Member:
    """Raises: NotFound, Forbidden, Conflict, TooLarge."""
    return await ctx.db.write(create_in, ctx, image_id, project_id)


async def create_in(tx: Transaction, ctx: RequestContext, image_id: str, project_id: str) -> Member:
    await get_shared(tx, ctx, image_id, "add_member")
    if len(await store.of_image(tx, image_id)) >= MAX_MEMBERS:
        raise TooLarge(f"The limit has been exceeded on the number of allowed image members. Maximum: {MAX_MEMBERS}.")
    member = Member(image_id, project_id, "pending", ctx.now_us, ctx.now_us)
    if not await store.add(tx, member):
        raise Conflict(f"Member {project_id} is duplicated for image {image_id}")
    return member


async def index(ctx: RequestContext, image_id: str) -> list[Member]:
    """All of them for the owner, themselves for a member. Raises: NotFound, Forbidden."""
    image, me = await get_shared(ctx.db, ctx, image_id, "get_members")
    if ctx.is_admin or ctx.project_id == image.project_id:
        return await store.of_image(ctx.db, image_id)
    return [me] if me else []


async def show(ctx: RequestContext, image_id: str, member_id: str) -> Member:
    """Raises: NotFound."""
    image, member = await get_member(ctx.db, ctx, image_id, member_id)
    if not ctx.allows(SERVICE, "get_member", target(image, ctx.project_id)):
        raise missing(image_id)
    return member


async def get_member(db: Reader, ctx: RequestContext, image_id: str, member_id: str) -> tuple[Image, Member]:
    """Raises: NotFound, for a member that the caller may not know of as well."""
    image, _ = await get_visible(db, ctx, image_id)
    member = await store.find(db, image_id, member_id)
    if member is None or not (ctx.is_admin or ctx.project_id in (image.project_id, member_id)):
        raise NotFound(f"{member_id[:64]} not found in the member list of the image {image_id}.")
    return image, member


async def set_status(ctx: RequestContext, image_id: str, member_id: str, status: str) -> Member:
    """A member accepts or rejects. Raises: NotFound, Forbidden."""
    return await ctx.db.write(set_status_in, ctx, image_id, member_id, status)


async def set_status_in(tx: Transaction, ctx: RequestContext, image_id: str, member_id: str, status: str) -> Member:
    image, member = await get_member(tx, ctx, image_id, member_id)
    require(ctx, "modify_member", image, member)
    await store.set_status(tx, member, status, ctx.now_us)
    return Member(image_id, member_id, status, member.created_at, ctx.now_us)


async def delete(ctx: RequestContext, image_id: str, member_id: str) -> None:
    """Raises: NotFound, Forbidden."""
    await ctx.db.write(delete_in, ctx, image_id, member_id)


async def delete_in(tx: Transaction, ctx: RequestContext, image_id: str, member_id: str) -> None:
    image, member = await get_member(tx, ctx, image_id, member_id)
    require(ctx, "delete_member", image)
    await store.remove(tx, member)
