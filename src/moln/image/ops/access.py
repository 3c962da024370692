"""Who may know of an image, and what Glance says to those who may not."""

from __future__ import annotations

from moln.image.model.images import Image, Member, target
from moln.image.store import images as store
from moln.image.store import members
from moln.kernel.context import RequestContext
from moln.kernel.db import Reader
from moln.kernel.errors import Forbidden, NotFound

SERVICE = "image"


def missing(image_id: str) -> NotFound:
    return NotFound(f"No image found with ID {image_id[:64]}")


async def membership(db: Reader, ctx: RequestContext, image: Image) -> Member | None:
    """The caller's project's place among the image's members."""
    if image.visibility != "shared" or not ctx.project_id or ctx.project_id == image.project_id:
        return None
    return await members.find(db, image.id, ctx.project_id)


async def get_visible(db: Reader, ctx: RequestContext, image_id: str) -> tuple[Image, Member | None]:
    """The image, if the caller may know of it. Raises: NotFound."""
    image = await store.find(db, image_id)
    if image is None:
        raise missing(image_id)
    member = await membership(db, ctx, image)
    known = ctx.is_admin or image.visibility in ("public", "community") or member is not None
    if not known and (ctx.project_id is None or ctx.project_id != image.project_id):
        raise missing(image_id)
    return image, member


async def get_for_service(db: Reader, ctx: RequestContext, image_id: str, rule: str) -> Image:
    """The image, if the caller may do `rule` to it: a service may, though it belongs to no project. Raises: NotFound, Forbidden."""
    if ctx.allows(SERVICE, "service_api"):
        image, member = await store.find(db, image_id), None
    else:
        image, member = await get_visible(db, ctx, image_id)
    if image is None:
        raise missing(image_id)
    require(ctx, rule, image, member)
    return image


def require(ctx: RequestContext, rule: str, image: Image, member: Member | None = None) -> None:
    """Raises: Forbidden, in Glance's words."""
    if not ctx.allows(SERVICE, rule, target(image, member.member_id if member else None)):
        raise Forbidden(f"You are not authorized to complete {rule} action.")


async def get_for(db: Reader, ctx: RequestContext, image_id: str, rule: str) -> Image:
    """The image, if the caller may do `rule` to it. Raises: NotFound, Forbidden."""
    image, member = await get_visible(db, ctx, image_id)
    if not ctx.allows(SERVICE, "get_image", target(image, member.member_id if member else None)):
        raise missing(image_id)
    require(ctx, rule, image, member)
    return image
