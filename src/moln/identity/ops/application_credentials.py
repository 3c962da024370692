"""Application credentials: part of a user's roles on one project, for a program that need not know the password."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
from msgspec.structs import replace

from moln.identity.model.credentials import ApplicationCredential, KeptRule
from moln.identity.model.roles import Role
from moln.identity.ops import access_rules
from moln.identity.ops.access import missing, refuse_lent, require
from moln.identity.ops.access_rules import AskedRule
from moln.identity.ops.state import of, people_changed
from moln.identity.store import credentials as store
from moln.identity.store import users as user_store
from moln.identity.store.credentials import APPLICATION_CREDENTIALS
from moln.identity.store.holding import hold
from moln.identity.store.projects import PROJECTS
from moln.identity.store.users import USERS
from moln.kernel.context import RequestContext
from moln.kernel.db import Duplicate, Transaction
from moln.kernel.errors import Conflict, Forbidden, Invalid

SECRET_BYTES = 64


async def roles(ctx: RequestContext, of_: ApplicationCredential) -> list[Role]:
    """Those that it was made with and that still exist."""
    known, _ = await of(ctx.cloud).roles(ctx.db)
    return [known[role_id] for role_id in of_.roles if role_id in known]


async def get(ctx: RequestContext, user_id: str, credential_id: str, verb: str = "get") -> ApplicationCredential:
    """Raises: Forbidden, NotFound."""
    require(ctx, f"identity:{verb}_application_credential", path={"user_id": user_id}, user=await user_store.find(ctx.db, user_id))
    found = await store.find_application(ctx.db, credential_id)
    if found is None or found.user_id != user_id:
        raise missing("application credential", credential_id)
    return found


async def of_user(ctx: RequestContext, user_id: str, name: str | None) -> list[ApplicationCredential]:
    """Raises: Forbidden, NotFound."""
    user = await user_store.find(ctx.db, user_id)
    require(ctx, "identity:list_application_credentials", path={"user_id": user_id}, user=user)
    if user is None:
        raise missing("user", user_id)
    where = [("user_id", "eq", user_id), *([("name", "eq", name)] if name is not None else [])]
    return await store.APPLICATION_LISTING.page(ctx.db, where, limit=10_000)


async def create(ctx: RequestContext, user_id: str, values: dict[str, Any], asked: list[tuple[str | None, str | None]] | None,
                 secret: str | None, rules: list[AskedRule] | None = None) -> tuple[ApplicationCredential, str]:  # fmt: skip
    """The credential and its secret, which is told only now. asked: roles by id or name; None: all that the token has.
    rules: the only requests that it is for; None: those of the token that makes it, or all.

    Raises: Forbidden, Invalid, NotFound, Conflict.
    """
    require(ctx, "identity:create_application_credential", path={"user_id": user_id})
    refuse_lent(ctx)
    if ctx.project_id is None:
        raise Forbidden("An application credential is made with a token of the project that it is for.")
    if values.get("expires_at") is not None and values["expires_at"] <= ctx.now_us:
        raise Invalid("The expiration time of an application credential lies in the future.", field="expires_at")
    known, _ = await of(ctx.cloud).roles(ctx.db)
    mine = {role.id: role for role in known.values() if role.domain_id is None and role.name.lower() in ctx.roles}
    chosen = [_chosen(mine, *which) for which in asked] if asked is not None else list(mine.values())
    made = ApplicationCredential(
        id=ctx.cloud.ids.hex(), user_id=user_id, project_id=ctx.project_id, roles=sorted({role.id for role in chosen}), **values
    )
    kept = await access_rules.settle(ctx, user_id, rules)
    secret = secret or secrets.token_urlsafe(SECRET_BYTES)
    hashed = await of(ctx.cloud).passwords.hash(secret)
    made = await ctx.db.write(create_in, made, hashed, kept)
    return made, secret


def _chosen(mine: dict[str, Role], id_: str | None, name: str | None) -> Role:
    """One role of the caller's own. Raises: Invalid."""
    for role in mine.values():
        if role.id == id_ or (id_ is None and role.name == name):
            return role
    raise Invalid(f"Could not create an application credential with the role {id_ or name}: you do not have it here.", field="roles")


async def create_in(tx: Transaction, made: ApplicationCredential, hashed: str, rules: tuple[KeptRule, ...] | None = None) -> ApplicationCredential:
    """Raises: NotFound, Conflict."""
    if not await hold(tx, USERS, made.user_id):
        raise missing("user", made.user_id)
    if not await hold(tx, PROJECTS, made.project_id):
        raise missing("project", made.project_id)
    if rules is not None:
        made = replace(made, access_rules=await access_rules.keep_in(tx, rules))
    try:
        await tx.insert(APPLICATION_CREDENTIALS, msgspec.structs.asdict(made) | {"secret_hash": hashed})
    except Duplicate:
        raise Conflict(f"Conflict occurred attempting to store application_credential - Duplicate entry found with name {made.name}.") from None
    return made


async def delete(ctx: RequestContext, user_id: str, credential_id: str) -> None:
    """Its tokens are void, too. Raises: Forbidden, NotFound."""
    await get(ctx, user_id, credential_id, "delete")
    refuse_lent(ctx)
    await ctx.db.write(_delete_in, user_id, credential_id)


async def _delete_in(tx: Transaction, user_id: str, credential_id: str) -> None:
    if not await tx.delete(APPLICATION_CREDENTIALS, id=credential_id, user_id=user_id):
        raise missing("application credential", credential_id)
    people_changed(tx, user_id)
