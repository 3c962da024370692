"""/images (until 2.35) and their metadata (until 2.38): the image area's, in Nova's old words."""

from __future__ import annotations

import re
from typing import Any

from moln.compute.api.routes import routes
from moln.compute.api.server_bodies import METADATA_KEY
from moln.compute.api.server_parts import Metadata, MetadataItem
from moln.compute.api.shapes import links, more
from moln.compute.ops import create
from moln.image.model.images import Image
from moln.image.ops import images
from moln.image.ops.images import Change, Wanted
from moln.kernel.clock import iso, parse_iso
from moln.kernel.context import RequestContext
from moln.kernel.errors import Conflict, Forbidden, Invalid, NotFound, OverQuota, TooLarge
from moln.kernel.http import Params, bounded_limit

PATH, UNTIL, METADATA_UNTIL = "/v2.1/images", "2.35", "2.38"
META = PATH + "/{image_id}/metadata"
STATUSES = {"active": ("ACTIVE", 100), "queued": ("SAVING", 25), "saving": ("SAVING", 50), "killed": ("ERROR", 0)}
SORT = (("created_at", "desc"),)


def _links(ctx: RequestContext, id: str) -> list[dict[str, str]]:
    alternate = {"rel": "alternate", "type": "application/vnd.openstack.image", "href": f"{ctx.settings.public_url}/image/images/{id}"}
    return [*links(ctx, "images", id), alternate]


def _brief(ctx: RequestContext, image: Image) -> dict[str, Any]:
    return {"id": image.id, "name": image.name, "links": _links(ctx, image.id)}


def _view(ctx: RequestContext, image: Image) -> dict[str, Any]:
    status, progress = STATUSES.get(image.status, ("UNKNOWN", 0))
    shown = _brief(ctx, image) | {
        "minRam": image.min_ram, "minDisk": image.min_disk, "metadata": image.properties, "created": iso(image.created_at),
        "updated": iso(image.updated_at), "status": status, "progress": progress, "OS-EXT-IMG-SIZE:size": image.size or 0,
    }  # fmt: skip
    if server_id := image.properties.get("instance_uuid"):
        shown["server"] = {"id": server_id, "links": links(ctx, "servers", server_id)}
    if automatic := image.properties.get("auto_disk_config"):
        shown["OS-DCF:diskConfig"] = "AUTO" if automatic.lower() in ("true", "1", "yes") else "MANUAL"
    return shown


def _wanted(query: Params) -> Wanted | None:
    """None: nothing can match. Raises: Invalid."""
    where: list[tuple[str, str, Any]] = []
    properties = {name.removeprefix("property-"): values[-1] for name, values in query.items() if name.startswith("property-")}
    for name, values in query.items():
        value = values[-1]
        match name:
            case "name":
                where.append(("name", "eq", value))
            case "status":
                kept = [s for s, (shown, _) in STATUSES.items() if shown == value.upper()]
                if not kept:
                    return None
                where.append(("status", "in", kept))
            case "changes-since":
                try:
                    where.append(("updated_at", "ge", parse_iso(value)))
                except ValueError:
                    raise Invalid("Invalid changes-since value", field=name) from None
            case "server":
                properties["instance_uuid"] = value.rstrip("/").rpartition("/")[2]
            case "type":
                properties["image_type"] = value
            case "minRam" | "minDisk":
                if not re.fullmatch("[0-9]{1,9}", value):
                    raise Invalid(f"{name} must be a whole number, not {value[:40]!r}", field=name)
                where.append(("min_ram" if name == "minRam" else "min_disk", "eq", int(value)))
    return Wanted(where, properties=properties)


async def _list(ctx: RequestContext, query: Params, shape: Any, path: str) -> dict[str, Any]:
    wanted = _wanted(query)
    limit = bounded_limit(query.get("limit", [None])[-1])
    found = [] if wanted is None else await images.index(ctx, wanted, sort=SORT, marker=query.get("marker", [None])[-1], limit=limit)
    following = more(ctx, path, query, [i.id for i in found], limit)
    return {"images": [shape(ctx, i) for i in found]} | ({"images_links": following} if following else {})


@routes.get(PATH, until=UNTIL)
async def list_images(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await _list(ctx, query, _brief, "images")


@routes.get(PATH + "/detail", until=UNTIL)
async def list_images_detail(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await _list(ctx, query, _view, "images/detail")


async def _find(ctx: RequestContext, id: str) -> Image:
    try:
        return await images.show(ctx, id)
    except NotFound:
        raise NotFound("Image not found.") from None


@routes.get(PATH + "/{image_id}", until=UNTIL)
async def show_image(ctx: RequestContext, image_id: str) -> dict[str, Any]:
    return {"image": _view(ctx, await _find(ctx, image_id))}


@routes.delete(PATH + "/{image_id}", until=UNTIL)
async def delete_image(ctx: RequestContext, image_id: str) -> None:
    await _find(ctx, image_id)
    try:
        await images.delete(ctx, image_id)
    except Forbidden:
        raise Forbidden("You are not allowed to delete the image.") from None


async def _change(ctx: RequestContext, image: Image, set_: dict[str, str], remove: tuple[str, ...] = ()) -> dict[str, str]:
    """All of the metadata afterwards. Raises: NotFound, Forbidden, Invalid, OverQuota."""
    for key in set_:
        if not METADATA_KEY.match(key) or key in images.COLUMNS:
            raise Invalid(f"Invalid input for field/attribute metadata. Additional properties are not allowed ({key[:64]!r} was unexpected)", field="metadata")
    await create.check_metadata(ctx, set_)
    changes = [Change("add", key, value) for key, value in set_.items()] + [Change("remove", key) for key in remove]
    try:
        return (await images.update(ctx, image.id, changes)).properties
    except TooLarge as full:
        raise OverQuota(full.message, resources=("metadata_items",)) from None
    except Conflict:
        raise NotFound("Metadata item was not found") from None


@routes.get(META, until=METADATA_UNTIL)
async def list_image_metadata(ctx: RequestContext, image_id: str) -> dict[str, Any]:
    return {"metadata": (await _find(ctx, image_id)).properties}


@routes.post(META, until=METADATA_UNTIL)
async def add_image_metadata(ctx: RequestContext, image_id: str, body: Metadata) -> dict[str, Any]:
    return {"metadata": await _change(ctx, await _find(ctx, image_id), body.metadata)}


@routes.put(META, until=METADATA_UNTIL)
async def replace_image_metadata(ctx: RequestContext, image_id: str, body: Metadata) -> dict[str, Any]:
    image = await _find(ctx, image_id)
    return {"metadata": await _change(ctx, image, body.metadata, tuple(k for k in image.properties if k not in body.metadata))}


@routes.get(META + "/{key}", until=METADATA_UNTIL)
async def show_image_metadata_item(ctx: RequestContext, image_id: str, key: str) -> dict[str, Any]:
    found = (await _find(ctx, image_id)).properties
    if key not in found:
        raise NotFound("Metadata item was not found")
    return {"meta": {key: found[key]}}


@routes.put(META + "/{key}", until=METADATA_UNTIL)
async def set_image_metadata_item(ctx: RequestContext, image_id: str, key: str, body: MetadataItem) -> dict[str, Any]:
    if key not in body.meta:
        raise Invalid("Request body and URI mismatch", field="meta")
    if len(body.meta) > 1:
        raise Invalid("Request body contains too many items", field="meta")
    await _change(ctx, await _find(ctx, image_id), body.meta)
    return {"meta": body.meta}


@routes.delete(META + "/{key}", until=METADATA_UNTIL)
async def delete_image_metadata_item(ctx: RequestContext, image_id: str, key: str) -> None:
    image = await _find(ctx, image_id)
    if key not in image.properties:
        raise NotFound("Metadata item was not found")
    await _change(ctx, image, {}, (key,))
