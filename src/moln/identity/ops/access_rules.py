"""Access rules: the requests that application credentials are bound to, kept per user."""

from __future__ import annotations

from msgspec import Struct

from moln.identity.model.credentials import KeptRule
from moln.identity.ops.access import missing, require
from moln.identity.store import credentials as store
from moln.identity.store import users as user_store
from moln.identity.store.credentials import ACCESS_RULES, APPLICATION_LISTING
from moln.identity.store.holding import hold
from moln.identity.store.users import USERS
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Forbidden


class AskedRule(Struct, frozen=True):
    """A rule by the id of one that the user has, or a new one."""

    id: str | None = None
    service: str = ""
    method: str = ""
    path: str = ""


async def of_user(ctx: RequestContext, user_id: str, filters: list[tuple[str, str, str]]) -> list[KeptRule]:
    """Raises: Forbidden, NotFound."""
    user = await user_store.find(ctx.db, user_id)
    require(ctx, "identity:list_access_rules", path={"user_id": user_id}, user=user or {"id": user_id})
    if user is None:
        raise missing("user", user_id)
    return await store.RULE_LISTING.page(ctx.db, [("user_id", "eq", user_id), *filters], limit=10_000)


async def get(ctx: RequestContext, user_id: str, rule_id: str, rule: str = "identity:get_access_rule") -> KeptRule:
    """Raises: Forbidden, NotFound."""
    user = await user_store.find(ctx.db, user_id)
    require(ctx, rule, path={"user_id": user_id}, user=user or {"id": user_id})
    found = await store.find_rule(ctx.db, rule_id)
    if found is None or found.user_id != user_id:
        raise missing("access rule", rule_id)
    return found


async def settle(ctx: RequestContext, user_id: str, asked: list[AskedRule] | None) -> tuple[KeptRule, ...] | None:
    """The rules of a credential that is being made: those asked for, which a token with rules of its own cannot widen. None: all.

    Raises: NotFound, Forbidden.
    """
    mine = ctx.who.access_rules if ctx.who else None
    if asked is None:
        asked = None if mine is None else [AskedRule(None, r.service, r.method, r.path) for r in mine]
    if asked is None:
        return None
    kept = []
    for wanted in asked:
        rule = KeptRule(ctx.cloud.ids.hex(), user_id, wanted.service, wanted.method, wanted.path)
        if wanted.id is not None:
            found = await store.find_rule(ctx.db, wanted.id)
            if found is None or found.user_id != user_id:
                raise missing("access rule", wanted.id)
            rule = found
        if mine is not None and not any(r.method == rule.method and r.path == rule.path and r.service == rule.service for r in mine):
            raise Forbidden("Could not create an application credential with an access rule that the token does not have.")
        kept.append(rule)
    return tuple(kept)


async def keep_in(tx: Transaction, rules: tuple[KeptRule, ...]) -> list[str]:
    """The ids of the rules, each kept once per user."""
    ids = []
    for rule in rules:
        if not await tx.insert(ACCESS_RULES, rule, if_absent=True):
            same = [("user_id", "eq", rule.user_id), ("service", "eq", rule.service), ("method", "eq", rule.method), ("path", "eq", rule.path)]
            rule = (await store.RULE_LISTING.page(tx, same, limit=1))[0]
        if rule.id not in ids:
            ids.append(rule.id)
    return ids


async def delete(ctx: RequestContext, user_id: str, rule_id: str) -> None:
    """Raises: Forbidden, when a credential has the rule; NotFound."""
    await get(ctx, user_id, rule_id, "identity:delete_access_rule")
    await ctx.db.write(_delete_in, user_id, rule_id)


async def _delete_in(tx: Transaction, user_id: str, rule_id: str) -> None:
    await hold(tx, USERS, user_id)
    for credential in await APPLICATION_LISTING.page(tx, [("user_id", "eq", user_id)]):
        if rule_id in (credential.access_rules or ()):
            raise Forbidden("May not delete access rule in use")
    if not await tx.delete(ACCESS_RULES, id=rule_id, user_id=user_id):
        raise missing("access rule", rule_id)


