"""Network logs: what a caller may do to them (network v2.0 api-ref, "Logging Resource")."""

from __future__ import annotations

from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Invalid, NotFound
from moln.network.model.logs import SECURITY_GROUP, NetworkLog
from moln.network.model.ports import Port
from moln.network.ops import authority
from moln.network.ops.common import check_revision, get, look_at
from moln.network.store import rows
from moln.network.store.logs import logs as table


async def create_in(
    tx: Transaction, ctx: RequestContext, *, project_id: str, set_: frozenset[str] = frozenset(), **fields: Any
) -> NetworkLog:
    """Have packets logged from now on. Raises: NotFound, Forbidden, Invalid."""
    authority.require(ctx, "create_log", authority.of_project(project_id), set_)
    now = ctx.now_us
    log = NetworkLog(id=ctx.new_id(), project_id=project_id, created_at=now, updated_at=now, **fields)
    await _check(tx, ctx, log)
    await table.add(tx, log)
    await _told(tx, log)
    return log


async def _check(tx: Transaction, ctx: RequestContext, log: NetworkLog) -> None:
    """The group and the port are the project's, and the port wears the group."""
    if log.resource_type != SECURITY_GROUP:
        raise Invalid(f"Invalid log resource_type: {log.resource_type}.", type="InvalidLogResourceType", field="resource_type")
    mine = (log.project_id, ctx.project_id)
    group = await rows.groups.find(tx, log.resource_id) if log.resource_id is not None else None
    if log.resource_id is not None and (group is None or not ctx.is_admin and group.project_id not in mine):
        raise NotFound(f"Resource {log.resource_id} could not be found.", type="ResourceNotFound")
    port = await rows.ports.find(tx, log.target_id) if log.target_id is not None else None
    if log.target_id is not None and (port is None or not ctx.is_admin and port.project_id not in mine):
        raise NotFound(f"Target resource {log.target_id} could not be found.", type="TargetResourceNotFound")
    if group is not None and port is not None and group.id not in port.security_groups:
        raise Invalid(
            f"Invalid resource constraint between resource ({SECURITY_GROUP} {group.id}) and target resource (port {port.id}).",
            type="InvalidResourceConstraint",
            field="target_id",
        )


async def update_in(
    tx: Transaction, ctx: RequestContext, id: str, *, set_: frozenset[str], revision: int | None = None, **changes: Any
) -> NetworkLog:
    """Rename, describe, switch on or off. Raises: NotFound, Forbidden, PreconditionFailed."""
    log = await get(tx, table, "log", id)
    authority.require(ctx, "update_log", authority.of_project(log.project_id), set_)
    check_revision(log.revision_number, revision)
    new = await table.save(tx, log, ctx.now_us, **changes)
    if new.enabled != log.enabled:
        await _told(tx, new)
    return new


async def delete_in(tx: Transaction, ctx: RequestContext, id: str, *, revision: int | None = None) -> None:
    """Log no longer. Raises: NotFound, Forbidden, PreconditionFailed."""
    log = await get(tx, table, "log", id)
    authority.require(ctx, "delete_log", authority.of_project(log.project_id))
    check_revision(log.revision_number, revision)
    await _told(tx, log)
    await table.remove(tx, id)


async def forget_in(tx: Transaction, column: str, id: str) -> None:
    """A group (resource_id) or port (target_id) goes, and its logs with it."""
    for log in await table.by(tx, column, id):
        await _told(tx, log)
        await table.remove(tx, log.id)


async def port_changed_in(tx: Transaction, port: Port, *groups: str) -> None:
    """A port wears other groups: those it wore and wears are logged anew where a log is of the port."""
    if await table.by(tx, "target_id", port.id):
        for group in groups:
            look_at(tx, "group", group)


async def _told(tx: Transaction, log: NetworkLog) -> None:
    """Look at the groups whose packets it is about."""
    if log.resource_id is not None:
        groups = [log.resource_id]
    elif log.target_id is not None:
        port = await rows.ports.find(tx, log.target_id)
        groups = list(port.security_groups) if port is not None else []
    else:
        groups = [group.id for group in await rows.groups.all(tx)]
    for group_id in ["drop", *groups]:
        look_at(tx, "group", group_id)
