"""/v3/backups (block-storage v3 api-ref, "Backups")."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Params, Routes
from moln.volume.api.bodies import UUID, filters, metadata, page, parse, text, truth, uuid_or_none
from moln.volume.api.faults import SERVICE
from moln.volume.api.views import links, next_links
from moln.volume.model.backups import Backup, BackupStatus
from moln.volume.ops import backups as ops
from moln.volume.store import backups as store

routes = Routes(SERVICE)
ALL, ONE = "/v3/backups", "/v3/backups/{backup_id}"
SORT_KEYS = {k: k for k in ("id", "status", "created_at", "updated_at", "name", "volume_id", "project_id")} | {"size": "size_gib"}
FILTERS = {"name": "name", "status": "status", "volume_id": "volume_id", "id": "id", "size": "size_gib"}
LIKE = frozenset({"name", "status", "volume_id"})
DRIVER = "cinder.backup.drivers.chunked_files"  # records of another kind of store are not read here


class BackupCreate(Struct, kw_only=True):
    """`backup` of POST; metadata exists since 3.43, availability_zone since 3.51."""

    volume_id: str
    name: str | None = None
    description: str | None = None
    container: str | None = None
    incremental: Any = False
    force: Any = False
    snapshot_id: str | None = None
    metadata: Any = None
    availability_zone: str | None = None


class BackupUpdate(Struct, kw_only=True):
    """`backup` of PUT."""

    name: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    metadata: Any = UNSET


class Restore(Struct, kw_only=True):
    volume_id: str | None = None
    name: str | None = None


class Reset(Struct):
    status: str


class Record(Struct, kw_only=True):
    """`backup-record`. backup_url: the row, as JSON in base64."""

    backup_service: str
    backup_url: str


def _short(ctx: RequestContext, of: Backup) -> dict[str, Any]:
    return {"id": of.id, "name": of.name, "links": links(ctx, "backups", of.id)}


def _made(ctx: RequestContext, of: Backup) -> dict[str, Any]:
    return _short(ctx, of) | ({"metadata": of.metadata} if ctx.at_least(3, 43) else {})


async def _views(ctx: RequestContext, found: list[Backup]) -> list[dict[str, Any]]:
    below = await store.depended_on(ctx.db, [b.id for b in found])
    return [_view(ctx, b, b.id in below) for b in found]


def _view(ctx: RequestContext, of: Backup, depended_on: bool) -> dict[str, Any]:
    view: dict[str, Any] = _short(ctx, of) | {
        "status": of.status.value, "size": of.size_gib, "object_count": of.object_count, "availability_zone": of.availability_zone,
        "container": of.container, "created_at": iso_micro(of.created_at), "updated_at": iso_micro(of.updated_at),
        "description": of.description, "fail_reason": of.fail_reason, "volume_id": of.volume_id,
        "is_incremental": of.parent_id is not None, "has_dependent_backups": depended_on, "snapshot_id": of.snapshot_id,
        "data_timestamp": iso_micro(of.data_timestamp),
    }  # fmt: skip
    if ctx.at_least(3, 18) and ctx.allows("volume", "backup:backup_project_attribute", of):
        view["os-backup-project-attr:project_id"] = of.project_id
    if ctx.at_least(3, 43):
        view["metadata"] = of.metadata
    if ctx.at_least(3, 56):
        view["user_id"] = of.user_id
    return view


async def _listed(ctx: RequestContext, query: Params, *, detail: bool) -> dict[str, Any]:
    where, asked = filters(ctx, query, FILTERS, like=LIKE), page(ctx, query, SORT_KEYS)
    found = await ops.index(ctx, where, sort=asked.sort, marker=asked.marker, limit=asked.limit + asked.offset) if asked.limit else []
    found = found[asked.offset :]
    shown = await _views(ctx, found) if detail else [_short(ctx, b) for b in found]
    answer = {"backups": shown} | next_links(ctx, query, asked, "backups/detail" if detail else "backups", found, "backups_links")
    if asked.count:
        answer["count"] = len(await ops.index(ctx, where, sort=[], marker=None, limit=None))
    return answer


@routes.get(ALL)
async def list_backups(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await _listed(ctx, query, detail=False)


@routes.get(ALL + "/detail")
async def list_backups_detail(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await _listed(ctx, query, detail=True)


@routes.post(ALL, status=202)
async def create_backup(ctx: RequestContext, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = parse(ctx, body, "backup", BackupCreate, always=True)
    for name, since in (("metadata", (3, 43)), ("availability_zone", (3, 51))):
        if getattr(asked, name) is not None and not ctx.at_least(*since):
            raise Invalid(f"Additional properties are not allowed ('{name}' was unexpected)", field=name)
    if asked.availability_zone not in (None, ctx.settings.volume.availability_zone):
        raise Invalid(f"Invalid input received: Availability zone '{asked.availability_zone}' is invalid.", field="availability_zone")
    spec = ops.BackupSpec(
        volume_id=uuid_or_none(asked.volume_id, "volume_id") or "", name=text(asked.name, "name"),
        description=text(asked.description, "description"), container=text(asked.container, "container"),
        incremental=truth(asked.incremental, "incremental"), force=truth(asked.force, "force"),
        snapshot_id=uuid_or_none(asked.snapshot_id, "snapshot_id"), metadata=metadata(asked.metadata),
    )  # fmt: skip
    return {"backup": _made(ctx, await ops.create(ctx, spec))}


@routes.get(ONE)
async def show_backup(ctx: RequestContext, backup_id: str) -> dict[str, Any]:
    return {"backup": (await _views(ctx, [await ops.show(ctx, backup_id)]))[0]}


@routes.put(ONE, since="3.9")
async def update_backup(ctx: RequestContext, backup_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = parse(ctx, body, "backup", BackupUpdate, always=True)
    changes: dict[str, Any] = {n: text(v, n) for n in ("name", "description") if (v := getattr(asked, n)) is not UNSET}
    if asked.metadata is not UNSET:
        if not ctx.at_least(3, 43):
            raise Invalid("Additional properties are not allowed ('metadata' was unexpected)", field="metadata")
        changes["metadata"] = metadata(asked.metadata)
    if not changes:
        raise Invalid("At least one of name, description and metadata is needed.")
    return {"backup": _made(ctx, await ops.update(ctx, backup_id, **changes))}


@routes.delete(ONE, status=202)
async def delete_backup(ctx: RequestContext, backup_id: str) -> None:
    await ops.delete(ctx, backup_id)


@routes.post(ONE + "/restore", status=202)
async def restore_backup(ctx: RequestContext, backup_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = parse(ctx, body, "restore", Restore, always=True)
    volume = await ops.restore(ctx, backup_id, uuid_or_none(asked.volume_id, "volume_id"), text(asked.name, "name"))
    return {"restore": {"backup_id": backup_id, "volume_id": volume.id, "volume_name": volume.name or ""}}


@routes.post(ONE + "/action", action="os-reset_status", status=202)
async def reset_backup_status(ctx: RequestContext, backup_id: str, body: dict) -> None:  # type: ignore[type-arg]
    await ops.reset_status(ctx, backup_id, parse(ctx, body, "os-reset_status", Reset, always=True).status.lower())


@routes.post(ONE + "/action", action="os-force_delete", status=202)
async def force_delete_backup(ctx: RequestContext, backup_id: str) -> None:
    await ops.delete(ctx, backup_id, force=True)


@routes.get(ONE + "/export_record")
async def export_backup_record(ctx: RequestContext, backup_id: str) -> dict[str, Any]:
    ctx.require("volume", "backup:export-import", {"project_id": ctx.project_id})
    backup = await ops.show(ctx, backup_id)
    if backup.status is not BackupStatus.AVAILABLE:
        raise Invalid(f"Invalid backup: Backup status must be available and not {backup.status}.")
    record = base64.b64encode(msgspec.json.encode(backup)).decode()
    return {"backup-record": {"backup_service": DRIVER, "backup_url": record}}


@routes.post(ALL + "/import_record", status=201)
async def import_backup_record(ctx: RequestContext, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = parse(ctx, body, "backup-record", Record, always=True)
    if asked.backup_service != DRIVER:
        raise Invalid(f"Invalid input received: records of {asked.backup_service[:64]} are not read here.", field="backup_service")
    try:
        read = msgspec.json.decode(base64.b64decode(asked.backup_url, validate=True), type=Backup)
    except (ValueError, msgspec.MsgspecError):
        raise Invalid("Invalid input received: Can't parse backup record.", field="backup_url") from None
    if not all(UUID.fullmatch(id) for id in (read.id, read.object_id, read.volume_id)) or read.size_gib < 1:
        raise Invalid("Invalid input received: Can't parse backup record.", field="backup_url")
    now = ctx.now_us
    fresh = msgspec.structs.replace(
        read, project_id=ctx.project_id or "", user_id=ctx.user_id or "", status=BackupStatus.CREATING, created_at=now, updated_at=now,
        parent_id=None, restore_volume_id=None, imported=True, generation=1, was_type_id="",
    )  # fmt: skip
    return {"backup": _short(ctx, await ops.import_record(ctx, fresh))}
