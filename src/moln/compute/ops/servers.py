"""Servers that exist: shown, listed, changed and deleted. Making one is in create.py, what is done to one in power.py."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from moln.compute.model import server_states
from moln.compute.model.server_lines import Line
from moln.compute.model.servers import Server, TaskState, VmState
from moln.compute.store import instance_actions, server_lists
from moln.compute.store import servers as store
from moln.image.ops import data
from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Conflict, Forbidden

SERVICE = "compute"
DELETE_PATIENCE_S = 900


def target(server: Server | Line) -> dict[str, str]:
    """The server as policy rules see it."""
    return {"project_id": server.project_id, "user_id": server.user_id}


async def get_for(db: Reader, ctx: RequestContext, server_id: str, rule: str) -> Server:
    """The server, if the caller may do `rule` to it. Raises: NotFound (also when it is another project's), Forbidden."""
    server = await store.find(db, server_id)
    if server is None or server.project_id != ctx.project_id and not ctx.is_admin and ctx.system_scope is None:
        raise store.missing(server_id)
    ctx.require(SERVICE, rule, target(server))
    return server


async def show(ctx: RequestContext, server_id: str) -> Line:
    """Raises: NotFound, Forbidden."""
    server = await store.find_line(ctx.db, server_id)
    if server is None or server.project_id != ctx.project_id and not ctx.is_admin and ctx.system_scope is None:
        raise store.missing(server_id)
    ctx.require(SERVICE, "os_compute_api:servers:show", target(server))
    return server


async def user_data(ctx: RequestContext, server_id: str) -> str | None:
    """Of a server that the caller was shown, in base64."""
    return await store.user_data(ctx.db, server_id)


async def index(ctx: RequestContext, wanted: server_lists.Wanted, *, detail: bool) -> list[Line]:
    """One page of servers. Raises: Forbidden, Invalid."""
    kind = "detail" if detail else "index"
    ctx.require(SERVICE, f"os_compute_api:servers:{kind}", {"project_id": ctx.project_id, "user_id": ctx.user_id})
    if wanted.all_projects:
        ctx.require(SERVICE, f"os_compute_api:servers:{kind}:get_all_tenants")
    else:
        where = ("project_id", "eq", ctx.project_id) if ctx.project_id else ("user_id", "eq", ctx.user_id)
        wanted.where.append(where)
    return await server_lists.page(ctx.db, wanted)


async def update(ctx: RequestContext, server_id: str, changes: dict[str, Any]) -> Line:
    """Change what a name, a description or the like is. Raises: NotFound, Forbidden, Conflict."""
    await ctx.db.write(update_in, ctx, server_id, changes)
    found = await store.find_line(ctx.db, server_id)
    if found is None:
        raise store.missing(server_id)
    return found


async def update_in(tx: Transaction, ctx: RequestContext, server_id: str, changes: dict[str, Any]) -> Server:
    server = await get_for(tx, ctx, server_id, "os_compute_api:servers:update")
    if changes.get("pinned_az") and changes["pinned_az"] != server.az:
        raise Conflict(f"Server {server_id} is not in availability zone {changes['pinned_az']}.")
    if not changes:
        return server
    return await store.save(tx, server, ctx.now_us, **changes)


async def delete(ctx: RequestContext, server_id: str, *, force: bool = False) -> None:
    """Record that the server is to go. Raises: NotFound, Forbidden, Conflict."""
    await ctx.db.write(delete_in, ctx, server_id, force=force)


async def delete_in(tx: Transaction, ctx: RequestContext, server_id: str, *, force: bool = False) -> None:
    rule = "os_compute_api:os-deferred-delete:force" if force else "os_compute_api:servers:delete"
    server = await get_for(tx, ctx, server_id, rule)
    server_states.check(server, "delete", action="forceDelete" if force else "delete", override_lock=may_override(ctx, server))
    if server.task_state is TaskState.DELETING:
        return
    await instance_actions.begin(tx, ctx, server.id, "delete", "compute_terminate_instance", server.host)
    deadline = ctx.now_us + DELETE_PATIENCE_S * 1_000_000
    changes = await let_image_go_in(tx, ctx, server)
    await store.save(tx, server, ctx.now_us, task_state=TaskState.DELETING, deadline=deadline, **changes)
    tx.wake("servers", server.id)


def may_override(ctx: RequestContext, server: Server) -> bool:
    """Whether a lock does not bind the caller (nova.compute.api.check_instance_lock: administrators)."""
    return ctx.is_admin


async def lock(ctx: RequestContext, server_id: str, reason: str | None) -> None:
    """Raises: NotFound, Forbidden."""
    await ctx.db.write(lock_in, ctx, server_id, reason)


async def lock_in(tx: Transaction, ctx: RequestContext, server_id: str, reason: str | None) -> None:
    server = await get_for(tx, ctx, server_id, "os_compute_api:os-lock-server:lock")
    by = "owner" if server.project_id == ctx.project_id else "admin"
    await instance_actions.begin(tx, ctx, server.id, "lock", "api_lock")
    server = await store.save(tx, server, None, locked=True, locked_by=by, locked_reason=reason)
    await instance_actions.finish(tx, server, "lock", ctx.now_us)


async def unlock(ctx: RequestContext, server_id: str) -> None:
    """Raises: NotFound, Forbidden, when an administrator locked it."""
    await ctx.db.write(unlock_in, ctx, server_id)


async def unlock_in(tx: Transaction, ctx: RequestContext, server_id: str) -> None:
    server = await get_for(tx, ctx, server_id, "os_compute_api:os-lock-server:unlock")
    if server.locked and server.locked_by == "admin":
        ctx.require(SERVICE, "os_compute_api:os-lock-server:unlock:unlock_override", target(server))
    await instance_actions.begin(tx, ctx, server.id, "unlock", "api_unlock")
    server = await store.save(tx, server, None, locked=False, locked_by=None, locked_reason=None)
    await instance_actions.finish(tx, server, "unlock", ctx.now_us)


async def restore(ctx: RequestContext, server_id: str) -> None:
    """Take back a deferred deletion. Deleting is never deferred here: Raises: Conflict, always (NotFound, Forbidden before)."""
    server = await get_for(ctx.db, ctx, server_id, "os_compute_api:os-deferred-delete:restore")
    server_states.check(server, "restore", override_lock=may_override(ctx, server))


async def reset_state(ctx: RequestContext, server_id: str, state: VmState) -> None:
    """An administrator's word for what a server's state is. Raises: NotFound, Forbidden."""
    await ctx.db.write(reset_state_in, ctx, server_id, state)


async def reset_state_in(tx: Transaction, ctx: RequestContext, server_id: str, state: VmState) -> None:
    server = await get_for(tx, ctx, server_id, "os_compute_api:os-admin-actions:reset_state")
    if server.vm_state is VmState.BUILDING and server.launched_at is None and state is VmState.ACTIVE:
        raise Forbidden(f"Instance {server_id} was never built; it cannot be called active.")
    await instance_actions.begin(tx, ctx, server.id, "resetState", "api_reset_state")
    changes = await let_image_go_in(tx, ctx, server)
    if server.rescue is not None:
        changes["rescue"] = structs.replace(server.rescue, admin_pass="")
    server = await store.save(tx, server, ctx.now_us, vm_state=state, task_state=None, **changes)
    await instance_actions.finish(tx, server, "resetState", ctx.now_us)


async def let_image_go_in(tx: Transaction, ctx: RequestContext, server: Server) -> dict[str, Any]:
    """Nobody makes the image any more that was being made of the server. What changes in its row."""
    if server.snapshot is None:
        return {}
    await data.fail_in(tx, server.snapshot, ctx.now_us)
    return {"snapshot": None, "shelved_image": None if server.shelved_image == server.snapshot else server.shelved_image}


__all__ = [
    "SERVICE", "delete", "get_for", "index", "lock", "may_override", "reset_state", "restore", "show", "target", "unlock", "update",
]  # fmt: skip
