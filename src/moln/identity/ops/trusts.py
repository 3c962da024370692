"""Trusts: made by their trustor, used by their trustee, perhaps passed on."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from moln.identity.model.roles import Role
from moln.identity.model.tokens import Scope
from moln.identity.model.trusts import MAX_REDELEGATION, Trust, origin, widens
from moln.identity.ops import scopes
from moln.identity.ops.access import missing, refuse_delegated, refuse_lent, require
from moln.identity.ops.state import of, people_changed
from moln.identity.store import projects as project_store
from moln.identity.store import trusts as store
from moln.identity.store import users as user_store
from moln.identity.store.holding import hold
from moln.identity.store.projects import PROJECTS
from moln.identity.store.trusts import TRUSTS
from moln.identity.store.users import USERS
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Forbidden, Invalid


def usable(trust: Trust | None, now_us: int) -> bool:
    """Whether there is such a trust: one that has ended, or is used up, counts as gone."""
    return trust is not None and (trust.expires_at is None or trust.expires_at > now_us) and trust.remaining_uses != 0


async def get(ctx: RequestContext, trust_id: str, rule: str = "identity:get_trust") -> Trust:
    """Raises: Forbidden, NotFound; the latter first, as Keystone has it."""
    trust = await store.find(ctx.db, trust_id)
    if trust is None or not usable(trust, ctx.now_us):
        raise missing("trust", trust_id)
    require(ctx, rule, trust=trust)
    return trust


async def visible(ctx: RequestContext, trustor: str | None, trustee: str | None) -> list[Trust]:
    """Raises: Forbidden."""
    where: list[tuple[str, str, Any]] = []
    if trustor is not None:
        require(ctx, "identity:list_trusts_for_trustor", trust={"trustor_user_id": trustor})
        where.append(("trustor_user_id", "eq", trustor))
    if trustee is not None:
        if trustor is None:
            require(ctx, "identity:list_trusts_for_trustee", trust={"trustee_user_id": trustee})
        where.append(("trustee_user_id", "eq", trustee))
    if not where:
        require(ctx, "identity:list_trusts")
    return [trust for trust in await store.LISTING.page(ctx.db, where, limit=10_000) if usable(trust, ctx.now_us)]


async def roles(ctx: RequestContext, trust: Trust) -> list[Role]:
    """Those that it lends and that still exist."""
    known, _ = await of(ctx.cloud).roles(ctx.db)
    return [known[role_id] for role_id in trust.roles if role_id in known]


async def role(ctx: RequestContext, trust_id: str, role_id: str) -> Role:
    """Raises: Forbidden, NotFound."""
    trust = await get(ctx, trust_id, "identity:get_role_for_trust")
    for found in await roles(ctx, trust):
        if found.id == role_id:
            return found
    raise missing("role", role_id)


async def create(ctx: RequestContext, values: dict[str, Any], asked: list[tuple[str | None, str | None]], allow_redelegation: bool) -> Trust:
    """values: Trust's fields but id and roles; redelegation_count only where it was asked for. asked: roles by id or name.

    Raises: Forbidden, NotFound, Invalid.
    """
    require(ctx, "identity:create_trust", trust=values)
    refuse_delegated(ctx)
    if ctx.user_id != values["trustor_user_id"]:
        raise Forbidden("The authenticated user should match the trustor")
    if values.get("project_id") and not asked:
        raise Forbidden("At least one role should be specified")
    if await user_store.find(ctx.db, values["trustee_user_id"]) is None:
        raise missing("user", values["trustee_user_id"])
    if values.get("expires_at") is not None and values["expires_at"] <= ctx.now_us:
        raise Invalid("The expiration time of a trust lies in the future.", field="expires_at")
    above = await _passed_on(ctx)
    chosen = await _lendable(ctx, values, asked, above)
    trust = _depth(Trust(id=ctx.cloud.ids.hex(), roles=sorted({role.id for role in chosen}), **values), values, allow_redelegation, above)
    for higher in above:
        if trust.expires_at is None:
            trust = replace(trust, expires_at=higher.expires_at)
        if why := widens(trust, higher):
            raise Forbidden(why)
    await ctx.db.write(create_in, trust)
    return trust


async def _passed_on(ctx: RequestContext) -> list[Trust]:
    """The chain of trusts that the caller's token comes from; empty for a token of their own. Raises: Forbidden."""
    who = ctx.who
    if who is None or who.trust_id is None:
        if who is not None and who.access_token_id is not None:
            raise Forbidden("Redelegation allowed for delegated by trust only")
        return []
    trust = await store.find(ctx.db, who.trust_id)
    chain = await store.chain(ctx.db, trust) if trust else None
    if not chain:
        raise missing("trust", who.trust_id)
    return chain


async def _lendable(ctx: RequestContext, values: dict[str, Any], asked: list[tuple[str | None, str | None]], above: list[Trust]) -> list[Role]:
    """The roles asked for, which the trustor (of the first trust of a chain) must have there. Raises: NotFound."""
    state = of(ctx.cloud)
    known, _ = await state.roles(ctx.db)
    project = await project_store.find(ctx.db, values["project_id"]) if values.get("project_id") else None
    if values.get("project_id") and project is None:
        raise missing("project", values["project_id"])
    lender = origin(above) if above else values["trustor_user_id"]
    scope = Scope(project_id=values.get("project_id"))
    held = {role.id for role in await scopes.roles_on(ctx.db, state, lender, scope, project)}
    own = ctx.who.application_credential_id if ctx.who else None
    chosen = []
    for id_, name in asked:
        role = known.get(id_ or "") or next((r for r in known.values() if id_ is None and r.name == name and r.domain_id is None), None)
        if role is None or role.id not in held or (own is not None and role.name.lower() not in ctx.roles):
            raise missing("role", id_ or name or "")
        chosen.append(role)
    return chosen


def _depth(trust: Trust, values: dict[str, Any], allowed: bool, above: list[Trust]) -> Trust:
    """How often it may be passed on. Raises: Forbidden, Invalid."""
    wanted = values.get("redelegation_count")
    if not allowed or wanted == 0:
        if trust.remaining_uses is not None and trust.remaining_uses <= 0:
            raise Invalid("remaining_uses must be a positive integer or null.", field="remaining_uses")
        return replace(trust, redelegation_count=0, redelegated_trust_id=above[0].id if above else None)
    if wanted is not None and wanted > MAX_REDELEGATION:
        raise Forbidden(f"Requested redelegation depth of {wanted} is greater than allowed {MAX_REDELEGATION}")
    if trust.remaining_uses is not None:
        raise Invalid("remaining_uses must not be set if redelegation is allowed", field="remaining_uses")
    if not above:
        return replace(trust, redelegation_count=MAX_REDELEGATION if wanted is None else wanted)
    left = above[0].redelegation_count - 1
    if wanted is not None and wanted != left:
        raise Forbidden('Modifying "redelegation_count" upon redelegation is forbidden. Omitting this parameter is advised.')
    return replace(trust, redelegation_count=left, redelegated_trust_id=above[0].id)


async def create_in(tx: Transaction, trust: Trust) -> None:
    """Raises: NotFound."""
    for user_id in sorted({trust.trustor_user_id, trust.trustee_user_id}):
        if not await hold(tx, USERS, user_id):
            raise missing("user", user_id)
    if trust.project_id is not None and not await hold(tx, PROJECTS, trust.project_id):
        raise missing("project", trust.project_id)
    if trust.redelegated_trust_id is not None and not await hold(tx, TRUSTS, trust.redelegated_trust_id):
        raise missing("trust", trust.redelegated_trust_id)
    await tx.insert(TRUSTS, trust)


async def delete(ctx: RequestContext, trust_id: str) -> None:
    """Its tokens, and what was passed on of it, are void. Raises: Forbidden, NotFound."""
    await get(ctx, trust_id, "identity:delete_trust")
    refuse_lent(ctx)
    await ctx.db.write(_delete_in, trust_id)


async def _delete_in(tx: Transaction, trust_id: str) -> None:
    gone = await store.remove(tx, trust_id)
    if not gone:
        raise missing("trust", trust_id)
    for user_id in sorted({user for trust in gone for user in (trust.trustor_user_id, trust.trustee_user_id)}):
        people_changed(tx, user_id)
