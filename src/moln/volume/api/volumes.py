"""/v3/volumes: volumes and their metadata (block-storage v3 api-ref, "Volumes")."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from moln.image.ops import images
from moln.kernel.context import RequestContext
from moln.kernel.errors import Conflict, Invalid, NotFound
from moln.kernel.http import Params, Routes
from moln.volume.api.bodies import UUID, filters, metadata, one_meta, page, parse, text, truth, uuid_or_none
from moln.volume.api.faults import SERVICE
from moln.volume.api.views import next_links, volume_details, volume_summary
from moln.volume.model.volumes import Volume
from moln.volume.ops import volumes as ops

routes = Routes(SERVICE)

SORT_KEYS = {k: k for k in ("id", "status", "availability_zone", "created_at", "updated_at", "name", "bootable", "host", "project_id")} | {
    "size": "size_gib",
    "display_name": "name",
    "volume_type_id": "volume_type_id",
}
FILTERS = {
    "name": "name", "display_name": "name", "status": "status", "metadata": "label", "bootable": "bootable",
    "availability_zone": "availability_zone", "size": "size_gib", "volume_type_id": "volume_type_id", "id": "id", "host": "host",
    "snapshot_id": "snapshot_id", "source_volid": "source_volid", "user_id": "user_id", "group_id": "group_id",
}  # fmt: skip
ADMIN_FILTERS = frozenset({"host", "user_id", "id", "volume_type_id", "source_volid", "snapshot_id"})
LIKE = frozenset({"name", "display_name", "status", "availability_zone"})


class VolumeCreate(Struct, kw_only=True):
    """`volume` of POST /volumes. multiattach, consistencygroup_id: known, and refused when set."""

    name: str | None = None
    description: str | None = None
    display_name: str | None = None
    display_description: str | None = None
    volume_type: str | None = None
    metadata: Any = None
    snapshot_id: str | None = None
    source_volid: str | None = None
    size: int | None = None
    availability_zone: str | None = None
    imageRef: str | None = None
    image_id: str | None = None
    multiattach: Any = None
    consistencygroup_id: str | None = None
    group_id: str | None = None
    backup_id: str | None = None


class VolumeUpdate(Struct, kw_only=True):
    """`volume` of PUT /volumes/{id}."""

    name: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    display_name: str | UnsetType | None = UNSET
    display_description: str | UnsetType | None = UNSET
    metadata: Any = UNSET


@routes.post("/v3/volumes", status=202)
async def create_volume(ctx: RequestContext, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = parse(ctx, body, "volume", VolumeCreate, beside=("OS-SCH-HNT:scheduler_hints",))
    if truth(asked.multiattach, "multiattach"):
        raise Invalid("multiattach parameter has been removed. The default is to use a multiattach volume type.")
    if asked.consistencygroup_id:
        raise Invalid("Invalid input received: this cloud has no consistency groups.", field="consistencygroup_id")
    image_id = asked.imageRef or asked.image_id
    spec = ops.VolumeSpec(
        size_gib=asked.size,
        name=text(asked.name if asked.name is not None else asked.display_name, "name"),
        description=text(asked.description if asked.description is not None else asked.display_description, "description"),
        volume_type=asked.volume_type or None,
        availability_zone=asked.availability_zone or None,
        metadata=metadata(asked.metadata),
        image_id=await image_named(ctx, image_id) if image_id else None,
        snapshot_id=uuid_or_none(asked.snapshot_id, "snapshot_id"),
        source_volid=uuid_or_none(asked.source_volid, "source_volid"),
        backup_id=uuid_or_none(asked.backup_id, "backup_id") if ctx.at_least(3, 47) else None,
        group_id=uuid_or_none(asked.group_id, "group_id") if ctx.at_least(3, 13) else None,
    )
    return await volume_view(ctx, await ops.create(ctx, spec), extended=False)


async def image_named(ctx: RequestContext, reference: str) -> str:
    """An image's id from its id, its address or its name. Raises: Invalid, Conflict."""
    last = reference.rpartition("/")[2]
    if UUID.fullmatch(last):
        return last.lower()
    wanted = images.Wanted([("name", "eq", reference[:255])], visibility="all")
    found = await images.index(ctx, wanted, sort=[("created_at", "desc")], marker=None, limit=2)
    if len(found) > 1:
        raise Conflict(f"Multiple matches found for '{reference[:64]}', use an ID to be more specific.")
    if not found:
        raise Invalid("Invalid image identifier or unable to access requested image.", field="imageRef")
    return found[0].id


async def volume_view(ctx: RequestContext, volume: Volume, *, extended: bool = True) -> dict[str, Any]:
    return {"volume": (await volume_details(ctx, ctx.db, [volume], extended=extended))[0]}


@routes.get("/v3/volumes")
async def list_volumes(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await listed(ctx, query, detail=False)


@routes.get("/v3/volumes/detail")
async def list_volumes_detail(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await listed(ctx, query, detail=True)


def where_of(ctx: RequestContext, query: Params) -> list[tuple[str, str, Any]]:
    known = FILTERS | ({"created_at": "created_at", "updated_at": "updated_at"} if ctx.at_least(3, 60) else {})
    if not ctx.at_least(3, 2) and query.get("bootable", [""])[-1].lower() not in ("true", "false", "0", "1", ""):
        query = {k: v for k, v in query.items() if k != "bootable"}
    extra = {"consumes_quota", "glance_metadata", "migration_status"}
    for name in extra & query.keys():  # known to Cinder; nothing here ever differs in it
        query = {k: v for k, v in query.items() if k != name}
    return filters(ctx, query, known, admin=ADMIN_FILTERS, like=LIKE)


async def listed(ctx: RequestContext, query: Params, *, detail: bool) -> dict[str, Any]:
    where, asked = where_of(ctx, query), page(ctx, query, SORT_KEYS)
    found = []
    if asked.marker:
        await ops.show(ctx, asked.marker)  # Cinder answers 404 to a marker that is none
    if asked.limit:
        found = await ops.index(ctx, where, sort=asked.sort, marker=asked.marker, limit=asked.limit + asked.offset)
        found = found[asked.offset :]
    shown = await volume_details(ctx, ctx.db, found) if detail else [volume_summary(ctx, v) for v in found]
    path = "volumes/detail" if detail else "volumes"
    answer: dict[str, Any] = {"volumes": shown} | next_links(ctx, query, asked, path, found, "volumes_links")
    if asked.count:
        answer["count"] = len(await ops.index(ctx, where, sort=[], marker=None, limit=None))
    return answer


@routes.get("/v3/volumes/summary", since="3.12")
async def summarise_volumes(ctx: RequestContext, query: Params) -> dict[str, Any]:
    found = await ops.index(ctx, where_of(ctx, query), sort=[], marker=None, limit=None)
    summary: dict[str, Any] = {"total_size": sum(v.size_gib for v in found), "total_count": len(found)}
    if ctx.at_least(3, 36):
        distinct: dict[str, list[str]] = {}
        for key, value in sorted({item for v in found for item in v.metadata.items()}):
            distinct.setdefault(key, []).append(value)
        summary["metadata"] = distinct
    return {"volume-summary": summary}


@routes.get("/v3/volumes/{volume_id}")
async def show_volume(ctx: RequestContext, volume_id: str) -> dict[str, Any]:
    return await volume_view(ctx, await ops.show(ctx, volume_id))


@routes.put("/v3/volumes/{volume_id}")
async def update_volume(ctx: RequestContext, volume_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = parse(ctx, body, "volume", VolumeUpdate, always=True)
    changes: dict[str, Any] = {}
    for column in ("name", "description"):
        for value in (getattr(asked, f"display_{column}"), getattr(asked, column)):
            if value is not UNSET:
                changes[column] = text(value, column)
    if asked.metadata is not UNSET:
        changes["metadata"] = metadata(asked.metadata, null=False)
    if not changes and ctx.at_least(3, 53):
        raise Invalid("At least one of name, description, display_name, display_description or metadata is needed.")
    return await volume_view(ctx, await ops.update(ctx, volume_id, **changes), extended=False)


@routes.delete("/v3/volumes/{volume_id}", status=202)
async def delete_volume(ctx: RequestContext, volume_id: str, query: Params) -> None:
    cascade = truth(query.get("cascade", [None])[-1], "cascade")
    force = ctx.at_least(3, 23) and truth(query.get("force", [None])[-1], "force")
    await ops.delete(ctx, volume_id, cascade=cascade, force=force)


GET, MAKE, CHANGE = "volume:get_volume_metadata", "volume:create_volume_metadata", "volume:update_volume_metadata"


@routes.get("/v3/volumes/{volume_id}/metadata")
async def show_volume_metadata(ctx: RequestContext, volume_id: str) -> dict[str, Any]:
    return {"metadata": await metadata_of(ctx, volume_id)}


async def metadata_of(ctx: RequestContext, volume_id: str) -> dict[str, str]:
    volume = await ops.show(ctx, volume_id)
    ctx.require("volume", GET, volume)
    return volume.metadata


@routes.post("/v3/volumes/{volume_id}/metadata")
async def create_volume_metadata(ctx: RequestContext, volume_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    given = metadata(body.get("metadata"), null=False)
    return {"metadata": await ops.set_metadata(ctx, volume_id, given, replace=False, rule=MAKE)}


@routes.put("/v3/volumes/{volume_id}/metadata")
async def replace_volume_metadata(ctx: RequestContext, volume_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    given = metadata(body.get("metadata"), null=False)
    return {"metadata": await ops.set_metadata(ctx, volume_id, given, replace=True, rule=CHANGE)}


@routes.get("/v3/volumes/{volume_id}/metadata/{key}")
async def show_volume_metadata_item(ctx: RequestContext, volume_id: str, key: str) -> dict[str, Any]:
    return {"meta": {key: found_item(await metadata_of(ctx, volume_id), key)}}


def found_item(found: dict[str, str], key: str) -> str:
    if key not in found:
        raise NotFound("Metadata item was not found")
    return found[key]


@routes.put("/v3/volumes/{volume_id}/metadata/{key}")
async def update_volume_metadata_item(ctx: RequestContext, volume_id: str, key: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    given = one_meta(body, key)
    await ops.set_metadata(ctx, volume_id, given, replace=False, rule=CHANGE)
    return {"meta": given}


@routes.delete("/v3/volumes/{volume_id}/metadata/{key}", status=200)
async def delete_volume_metadata_item(ctx: RequestContext, volume_id: str, key: str) -> None:
    await ops.delete_metadata(ctx, volume_id, key)
