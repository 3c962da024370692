"""Address scopes: what a caller may do to them (network v2.0 api-ref, "Address scopes")."""

from __future__ import annotations

from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Invalid
from moln.network.model.sharing import EVERYONE, SHARED
from moln.network.model.subnet_pools import AddressScope
from moln.network.ops import authority, sharing
from moln.network.ops.common import conflict, get
from moln.network.store import rows


async def create_in(
    tx: Transaction, ctx: RequestContext, *, project_id: str, set_: frozenset[str] = frozenset(), shared: bool = False, **fields: Any
) -> AddressScope:
    """Record a scope. Raises: Forbidden, OverQuota."""
    authority.require(ctx, "create_address_scope", authority.of_project(project_id, shared=shared), set_)
    now = ctx.now_us
    scope = AddressScope(id=ctx.new_id(), project_id=project_id, created_at=now, updated_at=now, **fields)
    await rows.address_scopes.add(tx, sharing.shared_fields(scope, shared))
    if shared:
        await sharing.add_in(tx, ctx, project_id, "address_scope", scope.id, SHARED)
    return scope


async def update_in(
    tx: Transaction, ctx: RequestContext, id: str, *, set_: frozenset[str], revision: int | None = None, **changes: Any
) -> AddressScope:
    """Rename it, or share it for good. Raises: NotFound, Forbidden, Invalid."""
    scope = await get(tx, rows.address_scopes, "address_scope", id)
    authority.require(ctx, "update_address_scope", authority.of_shareable(ctx, scope), set_)
    if "shared" in changes:
        shared = changes.pop("shared")
        if not shared and EVERYONE in scope.shared_with:
            raise Invalid(f"Unable to update address scope {id} : Shared address scope can't be unshared.", type="AddressScopeUpdateError")
        scope = await sharing.set_shared_in(tx, ctx, "address_scope", scope, shared)
    return await rows.address_scopes.save(tx, scope, ctx.now_us, **changes)


async def delete_in(tx: Transaction, ctx: RequestContext, id: str, *, revision: int | None = None) -> None:
    """Remove a scope without pools. Raises: NotFound, Forbidden, Conflict."""
    scope = await get(tx, rows.address_scopes, "address_scope", id)
    authority.require(ctx, "delete_address_scope", authority.of_shareable(ctx, scope))
    if await rows.subnet_pools.by(tx, "address_scope_id", id):
        raise conflict(
            "AddressScopeInUse",
            f"Unable to complete operation on address scope {id}. There are one or more subnet pools in use on the address scope.",
        )
    await sharing.forget_in(tx, id)
    await rows.address_scopes.remove(tx, id)
