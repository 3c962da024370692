"""os-migrations, and what Nova keeps below a server: live migrations under way."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, UnsetType

from moln.compute.api.routes import routes
from moln.compute.api.server_lists import moment
from moln.compute.api.server_views import Link
from moln.compute.api.shapes import check_query
from moln.compute.model.migrations import IN_PROGRESS, Migration, MigrationType, Progress
from moln.compute.ops import live_migration
from moln.compute.ops import migrations as ops
from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext
from moln.kernel.db.listing import Where
from moln.kernel.errors import Invalid, NotFound
from moln.kernel.http import Body, Params, View, bounded_limit, next_link, since

OF_SERVER = "/v2.1/servers/{server_id}/migrations"
FILTERS = {
    "host": "either_host", "instance_uuid": "server_id", "migration_type": "migration_type", "source_compute": "host", "status": "status",
    "user_id": "user_id", "project_id": "project_id",
}  # fmt: skip


class MigrationView(View):
    id: int
    created_at: str
    updated_at: str
    dest_compute: str | None
    dest_host: str | None
    dest_node: str | None
    source_compute: str | None
    source_node: str | None
    instance_uuid: str
    new_instance_type_id: int | None
    old_instance_type_id: int | None
    status: str
    migration_type: Annotated[str | UnsetType, since("2.23")] = UNSET
    uuid: Annotated[str | UnsetType, since("2.59")] = UNSET
    user_id: Annotated[str | None | UnsetType, since("2.80")] = UNSET
    project_id: Annotated[str | None | UnsetType, since("2.80")] = UNSET
    links: Annotated[list[Link] | UnsetType, since("2.23")] = UNSET

    @classmethod
    def of(cls, ctx: RequestContext, m: Migration, *, hosts: bool) -> MigrationView:
        """hosts: whether the caller may know where servers are."""
        host, dest = (m.host, m.dest_host or None) if hosts else (None, None)
        links = _links(ctx, m) if m.migration_type == MigrationType.LIVE and m.status in IN_PROGRESS else UNSET
        return cls(
            id=m.rowid, created_at=iso_micro(m.created_at), updated_at=iso_micro(m.updated_at), dest_compute=dest, dest_host=None,
            dest_node=dest, source_compute=host, source_node=host, links=links, instance_uuid=m.server_id, new_instance_type_id=m.new_number,
            old_instance_type_id=m.old_number, status=m.status, migration_type=m.migration_type, uuid=m.uuid, user_id=m.user_id,
            project_id=m.project_id,
        )  # fmt: skip


@routes.get("/v2.1/os-migrations")
async def list_migrations(ctx: RequestContext, query: Params) -> dict[str, Any]:
    known = {"hidden", *FILTERS} - (set() if ctx.at_least(2, 80) else {"user_id", "project_id"})
    paged = {"limit", "marker", "changes-since"} if ctx.at_least(2, 59) else set()
    times = {"changes-since": "ge"} if ctx.at_least(2, 59) else {}
    if ctx.at_least(2, 66):
        times["changes-before"] = "le"
    check_query(ctx, query, known | paged | times.keys(), strict_since=(2, 59))
    given = {name: values[-1] for name, values in query.items() if name in known | paged | times.keys()}
    where: list[Where] = [(FILTERS[name], "eq", value) for name, value in given.items() if name in FILTERS and name != "project_id"]
    where += [("updated_at", op, moment(given[name], name)) for name, op in times.items() if name in given]
    if {"changes-since", "changes-before"} <= given.keys() and where[-2][2] > where[-1][2]:
        raise Invalid("The value of changes-since must be less than or equal to changes-before.", field="changes-since")
    limit = bounded_limit(given.get("limit"))
    found = await ops.index(ctx, where, project_id=given.get("project_id"), limit=limit, marker=given.get("marker"))
    hosts = ops.shows_hosts(ctx)
    answer: dict[str, Any] = {"migrations": [MigrationView.of(ctx, m, hosts=hosts).at(ctx.version) for m in found]}
    if ctx.at_least(2, 59) and "limit" in given and found and len(found) >= limit:
        href = next_link(f"{ctx.settings.public_url}/compute/v2.1/os-migrations", query, found[-1].uuid)
        answer["migrations_links"] = [{"rel": "next", "href": href}]
    return answer


class LiveView(View):
    """How far a live migration is; in bytes."""

    id: int
    created_at: str
    updated_at: str
    server_uuid: str
    source_compute: str | None
    source_node: str | None
    dest_compute: str | None
    dest_node: str | None
    dest_host: str | None
    status: str
    memory_total_bytes: int
    memory_processed_bytes: int
    memory_remaining_bytes: int
    disk_total_bytes: int
    disk_processed_bytes: int
    disk_remaining_bytes: int
    uuid: Annotated[str | UnsetType, since("2.59")] = UNSET
    user_id: Annotated[str | None | UnsetType, since("2.80")] = UNSET
    project_id: Annotated[str | None | UnsetType, since("2.80")] = UNSET

    @classmethod
    def of(cls, m: Migration, *, hosts: bool) -> LiveView:
        """hosts: whether the caller may know where servers are."""
        far = m.progress or Progress()
        host, dest = (m.host, m.dest_host) if hosts else (None, None)
        return cls(
            id=m.rowid, created_at=iso_micro(m.created_at), updated_at=iso_micro(m.updated_at), server_uuid=m.server_id, source_compute=host,
            source_node=host, dest_compute=dest, dest_node=dest, dest_host=None, status=m.status, memory_total_bytes=far.memory_total,
            memory_processed_bytes=far.memory_processed, memory_remaining_bytes=far.memory_remaining, disk_total_bytes=far.disk_total,
            disk_processed_bytes=far.disk_processed, disk_remaining_bytes=far.disk_remaining, uuid=m.uuid, user_id=m.user_id,
            project_id=m.project_id,
        )  # fmt: skip


def _links(ctx: RequestContext, m: Migration) -> list[Link]:
    path, at = f"servers/{m.server_id}/migrations/{m.rowid}", f"{ctx.settings.public_url}/compute"
    return [Link("self", f"{at}/v2.1/{path}"), Link("bookmark", f"{at}/{path}")]


def _number(migration_id: str) -> int:
    """Raises: NotFound: what is no number names no migration."""
    if not migration_id.isascii() or not migration_id.isdigit() or len(migration_id) > 18:
        raise NotFound(f"Migration {migration_id[:64]} could not be found.")
    return int(migration_id)


@routes.get(OF_SERVER, since="2.23")
async def list_live_migrations(ctx: RequestContext, server_id: str) -> dict[str, Any]:
    found, hosts = await ops.live_of(ctx, server_id), ops.shows_hosts_of(ctx)
    return {"migrations": [LiveView.of(m, hosts=hosts).at(ctx.version) for m in found]}


@routes.get(OF_SERVER + "/{migration_id}", since="2.23")
async def show_live_migration(ctx: RequestContext, server_id: str, migration_id: str) -> dict[str, Any]:
    found = await ops.get_live(ctx, server_id, _number(migration_id))
    return {"migration": LiveView.of(found, hosts=True).at(ctx.version)}


class ForceComplete(Body):
    force_complete: None = None


@routes.post(OF_SERVER + "/{migration_id}/action", status=202, action="force_complete", since="2.22")
async def force_complete(ctx: RequestContext, server_id: str, migration_id: str, body: ForceComplete) -> None:
    await live_migration.force_complete(ctx, server_id, _number(migration_id))


@routes.delete(OF_SERVER + "/{migration_id}", status=202, since="2.24")
async def abort_live_migration(ctx: RequestContext, server_id: str, migration_id: str) -> None:
    await live_migration.abort(ctx, server_id, _number(migration_id), early=ctx.at_least(2, 65))
