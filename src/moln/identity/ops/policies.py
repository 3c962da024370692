"""Policies: texts that administrators keep for other services (deprecated in Keystone, and as passive here)."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from moln.identity.model.credentials import MAX_BLOB, Policy
from moln.identity.ops.access import missing, require
from moln.identity.ops.rows import change_in, remove_in
from moln.identity.store import credentials as store
from moln.identity.store import endpoint_policies
from moln.identity.store.credentials import POLICIES
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Invalid


async def get(ctx: RequestContext, policy_id: str, verb: str = "get") -> Policy:
    """Raises: Forbidden, NotFound."""
    require(ctx, f"identity:{verb}_policy")
    found = await store.find_policy(ctx.db, policy_id)
    if found is None:
        raise missing("policy", policy_id)
    return found


async def create(ctx: RequestContext, values: dict[str, Any]) -> Policy:
    """Raises: Forbidden, Invalid."""
    require(ctx, "identity:create_policy")
    made = Policy(id=ctx.cloud.ids.hex(), **_bounded(values))
    await ctx.db.write(_create_in, made)
    return made


def _bounded(values: dict[str, Any]) -> dict[str, Any]:
    if len(values.get("blob", "")) > MAX_BLOB:
        raise Invalid(f"A policy holds at most {MAX_BLOB} characters.", field="blob")
    return values


async def _create_in(tx: Transaction, made: Policy) -> None:
    await tx.insert(POLICIES, made)


async def update(ctx: RequestContext, policy_id: str, values: dict[str, Any]) -> Policy:
    """Raises: Forbidden, NotFound, Invalid."""
    old = await get(ctx, policy_id, "update")
    values = _bounded(values)
    if "extra" in values:
        values = values | {"extra": old.extra | values["extra"]}
    await ctx.db.write(change_in, POLICIES, "policy", values, id=policy_id)
    return replace(old, **values)


async def delete(ctx: RequestContext, policy_id: str) -> None:
    """Raises: Forbidden, NotFound."""
    await get(ctx, policy_id, "delete")
    await ctx.db.write(_delete_in, policy_id)


async def _delete_in(tx: Transaction, policy_id: str) -> None:
    await endpoint_policies.forget(tx, policy_id=policy_id)
    await remove_in(tx, POLICIES, "policy", id=policy_id)
