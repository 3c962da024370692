"""os-migrations, and what Nova keeps below a server: live migrations under way, of which there are none."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, UnsetType

from moln.compute.api.routes import routes
from moln.compute.api.server_lists import moment
from moln.compute.api.shapes import check_query
from moln.compute.model.migrations import Migration
from moln.compute.ops import migrations as ops
from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext
from moln.kernel.db.listing import Where
from moln.kernel.errors import Invalid
from moln.kernel.http import Body, Params, View, bounded_limit, next_link, since

OF_SERVER = "/v2.1/servers/{server_id}/migrations"
FILTERS = {
    "host": "host", "instance_uuid": "server_id", "migration_type": "migration_type", "source_compute": "host", "status": "status",
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

    @classmethod
    def of(cls, m: Migration, *, hosts: bool) -> MigrationView:
        """hosts: whether the caller may know where servers are."""
        host = m.host if hosts else None
        return cls(
            id=m.rowid, created_at=iso_micro(m.created_at), updated_at=iso_micro(m.updated_at), dest_compute=host, dest_host=None,
            dest_node=host, source_compute=host, source_node=host, instance_uuid=m.server_id, new_instance_type_id=m.new_number,
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
    answer: dict[str, Any] = {"migrations": [MigrationView.of(m, hosts=hosts).at(ctx.version) for m in found]}
    if ctx.at_least(2, 59) and "limit" in given and found and len(found) >= limit:
        href = next_link(f"{ctx.settings.public_url}/compute/v2.1/os-migrations", query, found[-1].uuid)
        answer["migrations_links"] = [{"rel": "next", "href": href}]
    return answer


@routes.get(OF_SERVER, since="2.23")
async def list_live_migrations(ctx: RequestContext, server_id: str) -> dict[str, Any]:
    return {"migrations": await ops.live_of(ctx, server_id, "index")}


@routes.get(OF_SERVER + "/{migration_id}", since="2.23")
async def show_live_migration(ctx: RequestContext, server_id: str, migration_id: str) -> None:
    await ops.get_live(ctx, server_id, migration_id, "show")


class ForceComplete(Body):
    force_complete: None = None


@routes.post(OF_SERVER + "/{migration_id}/action", status=202, action="force_complete", since="2.22")
async def force_complete(ctx: RequestContext, server_id: str, migration_id: str, body: ForceComplete) -> None:
    await ops.get_live(ctx, server_id, migration_id, "force_complete")


@routes.delete(OF_SERVER + "/{migration_id}", status=202, since="2.24")
async def abort_live_migration(ctx: RequestContext, server_id: str, migration_id: str) -> None:
    await ops.get_live(ctx, server_id, migration_id, "delete")
