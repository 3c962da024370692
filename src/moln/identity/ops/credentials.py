"""Credentials and EC2 keys: kept sealed, read by their owner and by administrators."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from msgspec.structs import replace

from moln.identity.model.credentials import EC2, MAX_BLOB, Credential
from moln.identity.ops.access import missing, refuse_delegated, refuse_lent, require
from moln.identity.ops.rows import change_in, remove_in
from moln.identity.ops.state import of
from moln.identity.store import credentials as store
from moln.identity.store import projects as project_store
from moln.identity.store import users as user_store
from moln.identity.store.credentials import CREDENTIALS
from moln.identity.store.holding import hold
from moln.identity.store.projects import PROJECTS
from moln.identity.store.users import USERS
from moln.kernel.cloud import Cloud
from moln.kernel.context import RequestContext
from moln.kernel.db import Duplicate, Transaction
from moln.kernel.errors import Conflict, Forbidden, Invalid


def blob(cloud: Cloud, credential: Credential) -> str:
    """What was kept. Raises: ValueError, when the home's key is another."""
    return of(cloud).vault.open(credential.sealed).decode()


def seal(ctx: RequestContext, text: str) -> str:
    if len(text) > MAX_BLOB:
        raise Invalid(f"A credential holds at most {MAX_BLOB} characters.", field="blob")
    return of(ctx.cloud).vault.seal(text.encode(), ctx.now_us // 1_000_000)


async def get(ctx: RequestContext, credential_id: str, rule: str = "identity:get_credential") -> Credential:
    """Raises: Forbidden, NotFound."""
    found = await store.find(ctx.db, credential_id)
    require(ctx, rule, credential=found)
    if found is None:
        raise missing("credential", credential_id)
    return found


async def visible(ctx: RequestContext, user_id: str | None, type_: str | None) -> list[Credential]:
    """Those that the caller may see. Raises: Forbidden."""
    where = [(name, "eq", value) for name, value in (("user_id", user_id), ("type", type_)) if value is not None]
    if not ctx.is_admin and ctx.system_scope is None:
        where.append(("user_id", "eq", ctx.user_id or ""))
    found = await store.LISTING.page(ctx.db, where, limit=10_000)
    rule = "identity:list_credentials"
    require(ctx, rule, credential={"user_id": ctx.user_id})
    return [c for c in found if ctx.allows("identity", rule, {"target": {"credential": c}})]


async def create(ctx: RequestContext, values: dict[str, Any]) -> Credential:
    """values: type, blob, user_id, project_id, extra. Raises: Forbidden, Invalid, NotFound, Conflict."""
    refuse_lent(ctx)
    values = {"user_id": ctx.user_id or ""} | values
    text = values.pop("blob")
    if values["type"] == EC2:
        keys = keys_of(text)
        id_ = ec2_id(str(keys["access"]))
        lent = _lent(ctx)
        if any(keys.get(name) not in (None, lent[name]) for name in LENT):
            raise Invalid("What lends a key follows from the token that it is made with.", field="blob")
        text = json.dumps(keys | lent) if any(lent.values()) else text
        if values.get("project_id") is None:
            raise Invalid("An ec2 credential needs a project_id.", field="project_id")
    else:
        id_ = hashlib.sha256(ctx.new_id().encode()).hexdigest()
    made = Credential(id=id_, sealed=seal(ctx, text), **values)
    require(ctx, "identity:create_credential", credential=made)
    await ctx.db.write(create_in, made)
    return made


LENT = ("trust_id", "app_cred_id", "access_token_id")


def _lent(ctx: RequestContext) -> dict[str, str | None]:
    """What lends the token that makes a key: the key is good for no more (OSSA-2020-004)."""
    who = ctx.who
    if who is None:
        return dict.fromkeys(LENT)
    return {"trust_id": who.trust_id, "app_cred_id": who.application_credential_id, "access_token_id": who.access_token_id}


def keys_of(text: str) -> dict[str, Any]:
    """An EC2 credential's blob. Raises: Invalid."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # the second, where it is nested a thousand deep
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("access"), str) or not found["access"]:
        raise Invalid("Invalid blob in credential: an object with access and secret is needed.", field="blob")
    return found


def ec2_id(access: str) -> str:
    return hashlib.sha256(access.encode()).hexdigest()


async def create_in(tx: Transaction, made: Credential) -> None:
    """Raises: NotFound, Conflict."""
    if not await hold(tx, USERS, made.user_id):
        raise missing("user", made.user_id)
    if made.project_id is not None and not await hold(tx, PROJECTS, made.project_id):
        raise missing("project", made.project_id)
    try:
        await tx.insert(CREDENTIALS, made)
    except Duplicate:
        raise Conflict("Conflict occurred attempting to store credential - Duplicate entry.") from None


async def update(ctx: RequestContext, credential_id: str, values: dict[str, Any]) -> Credential:
    """Whose it is, where and of what type it is stays. Raises: Forbidden, NotFound, Invalid."""
    refuse_lent(ctx)
    old = await get(ctx, credential_id, "identity:update_credential")
    for name in ("type", "user_id", "project_id"):
        if name in values and values.pop(name) != getattr(old, name):
            raise Invalid(f"Update of `{name}` is not allowed.", field=name)
    if "blob" in values:
        text = values.pop("blob")
        if old.type == EC2:
            text = _same_key(ctx, old, text)
        values["sealed"] = seal(ctx, text)
    if "extra" in values:
        values["extra"] = old.extra | values["extra"]
    await ctx.db.write(change_in, CREDENTIALS, "credential", values, id=credential_id)
    return replace(old, **values)


def _same_key(ctx: RequestContext, old: Credential, text: str) -> str:
    """The new blob of a key, which stays lent by what lent it. Raises: Invalid."""
    new, kept = keys_of(text), json.loads(blob(ctx.cloud, old))
    for name in LENT:
        if name in new and new[name] != kept.get(name):
            raise Invalid(f"{name} of a key cannot be changed.", field="blob")
    return json.dumps(new | {name: kept[name] for name in LENT if name in kept}) if any(name in kept for name in LENT) else text


async def delete(ctx: RequestContext, credential_id: str, rule: str = "identity:delete_credential") -> None:
    """Raises: Forbidden, NotFound."""
    refuse_lent(ctx)
    await get(ctx, credential_id, rule)
    await ctx.db.write(remove_in, CREDENTIALS, "credential", id=credential_id)


async def create_ec2(ctx: RequestContext, user_id: str, project_id: str) -> Credential:
    """A key pair for a user on a project where they have a role. Raises: Forbidden, NotFound."""
    refuse_delegated(ctx)
    require(ctx, "identity:ec2_create_credential", path={"user_id": user_id}, credential={"user_id": user_id})
    if await user_store.find(ctx.db, user_id) is None:
        raise missing("user", user_id)
    if await project_store.find(ctx.db, project_id) is None:
        raise missing("project", project_id)
    if not ctx.is_admin and project_id != ctx.project_id:
        raise Forbidden("A key pair is made for the project that the token is for.")
    access, secret = ctx.cloud.ids.hex(), ctx.cloud.ids.hex()
    text = json.dumps({"access": access, "secret": secret} | _lent(ctx))
    made = Credential(ec2_id(access), EC2, user_id, seal(ctx, text), project_id)
    await ctx.db.write(create_in, made)
    return made


async def get_ec2(ctx: RequestContext, user_id: str, access: str, rule: str = "identity:ec2_get_credential") -> Credential:
    """Raises: Forbidden, NotFound."""
    found = await store.find(ctx.db, ec2_id(access))
    if found is not None and (found.type != EC2 or found.user_id != user_id):
        found = None
    require(ctx, rule, path={"user_id": user_id}, credential=found or {"user_id": user_id})
    if found is None:
        raise missing("credential", access)
    return found


async def list_ec2(ctx: RequestContext, user_id: str) -> list[Credential]:
    """Raises: Forbidden, NotFound."""
    require(ctx, "identity:ec2_list_credentials", path={"user_id": user_id})
    if await user_store.find(ctx.db, user_id) is None:
        raise missing("user", user_id)
    return await store.of_user(ctx.db, user_id, EC2)


async def delete_ec2(ctx: RequestContext, user_id: str, access: str) -> None:
    """Raises: Forbidden, NotFound."""
    refuse_lent(ctx)
    found = await get_ec2(ctx, user_id, access, "identity:ec2_delete_credential")
    await ctx.db.write(remove_in, CREDENTIALS, "credential", id=found.id)
