"""Users and their passwords."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from moln.identity.model.users import MAX_PASSWORD, User
from moln.identity.ops.access import missing, require, taken
from moln.identity.ops.projects import own_domain
from moln.identity.ops.state import of, people_changed
from moln.identity.ops.tokens import unauthorized
from moln.identity.store import credentials
from moln.identity.store import projects as project_store
from moln.identity.store import users as store
from moln.identity.store.groups import MEMBERSHIPS
from moln.identity.store.holding import hold
from moln.identity.store.projects import PROJECTS
from moln.identity.store.roles import GRANTS
from moln.identity.store.users import USERS
from moln.kernel.context import RequestContext
from moln.kernel.db import Duplicate, Transaction
from moln.kernel.errors import Invalid


async def get(ctx: RequestContext, user_id: str, rule: str = "identity:get_user") -> User:
    """Raises: Forbidden, NotFound."""
    user = await store.find(ctx.db, user_id)
    require(ctx, rule, path={"user_id": user_id}, user=user)
    if user is None:
        raise missing("user", user_id)
    return user


async def create(ctx: RequestContext, values: dict[str, Any], password: str | None) -> User:
    """values: User's fields; without a domain_id the caller's domain. Raises: Forbidden, Invalid, NotFound, Conflict."""
    values = values | {"domain_id": values.get("domain_id") or own_domain(ctx)}
    user = User(id=ctx.cloud.ids.hex(), **values)
    require(ctx, "identity:create_user", user=user)
    hashed = await _hash(ctx, password)
    await ctx.db.write(create_in, user, hashed)
    return user


async def _hash(ctx: RequestContext, password: str | None) -> str | None:
    """Raises: Invalid, for a password that is empty or too long."""
    if password is None:
        return None
    if not 0 < len(password) <= MAX_PASSWORD:
        raise Invalid(f"A password has 1 to {MAX_PASSWORD} characters.", field="password")
    return await of(ctx.cloud).passwords.hash(password)


async def create_in(tx: Transaction, user: User, password_hash: str | None) -> None:
    """Raises: NotFound, Invalid, Conflict."""
    if not await hold(tx, PROJECTS, user.domain_id) or await project_store.find_domain(tx, user.domain_id) is None:
        raise missing("domain", user.domain_id)
    await _check_default_project(tx, user.default_project_id)
    try:
        await tx.insert(USERS, msgspec.structs.asdict(user) | {"password_hash": password_hash})
    except Duplicate:
        raise taken("user", user.name, user.domain_id) from None


async def _check_default_project(tx: Transaction, project_id: str | None) -> None:
    project = await project_store.find(tx, project_id) if project_id else None
    if project is not None and project.is_domain:
        raise Invalid(f"User's default project ID cannot be a domain ID: {project_id}", field="default_project_id")


async def update(ctx: RequestContext, user_id: str, values: dict[str, Any], password: str | None) -> User:
    """A new password or disabling voids the user's tokens. Raises: Forbidden, NotFound, Invalid, Conflict."""
    await get(ctx, user_id, "identity:update_user")
    return await ctx.db.write(_update_in, user_id, values, await _hash(ctx, password), ctx.now_us)


async def _update_in(tx: Transaction, user_id: str, values: dict[str, Any], password_hash: str | None, now_us: int) -> User:
    old = await store.find(tx, user_id)
    if old is None:
        raise missing("user", user_id)
    if values.get("domain_id", old.domain_id) != old.domain_id:
        raise Invalid("Cannot change Domain ID", field="domain_id")
    if "extra" in values:
        values = values | {"extra": old.extra | values["extra"]}
    if password_hash is not None or values.get("enabled") is False:
        values = values | {"tokens_from": now_us}
    await _check_default_project(tx, values.get("default_project_id"))
    columns = values | ({"password_hash": password_hash} if password_hash else {})
    if columns:
        try:
            await tx.update(USERS, columns, id=user_id)
        except Duplicate:
            raise taken("user", values["name"], old.domain_id) from None
    people_changed(tx, user_id)
    return replace(old, **values)


async def change_password(ctx: RequestContext, user_id: str, original: str, new: str) -> None:
    """What a user does with their own password. Raises: Unauthorized, Invalid."""
    hashed = await store.password_hash(ctx.db, user_id)
    right = await of(ctx.cloud).passwords.verify(hashed, original)
    user = await store.find(ctx.db, user_id)
    if not right or user is None or not user.enabled:
        raise unauthorized()
    new_hash = await _hash(ctx, new)
    await ctx.db.write(_change_in, user_id, hashed, new_hash, ctx.now_us)


async def _change_in(tx: Transaction, user_id: str, old_hash: str | None, new_hash: str | None, now_us: int) -> None:
    changed = await tx.update(USERS, {"password_hash": new_hash, "tokens_from": now_us}, id=user_id, password_hash=old_hash)
    if not changed:
        raise unauthorized()
    people_changed(tx, user_id)


async def delete(ctx: RequestContext, user_id: str) -> None:
    """Raises: Forbidden, NotFound."""
    await get(ctx, user_id, "identity:delete_user")
    await ctx.db.write(remove_in, user_id)


async def remove_in(tx: Transaction, user_id: str) -> None:
    """Remove a user with their memberships, assignments and credentials."""
    await hold(tx, USERS, user_id)
    await tx.delete(MEMBERSHIPS, user_id=user_id)
    await tx.delete(GRANTS, actor_id=user_id)
    await credentials.forget_user(tx, user_id)
    await tx.delete(USERS, id=user_id)
    people_changed(tx, user_id)
