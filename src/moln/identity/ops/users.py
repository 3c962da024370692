"""Users and their passwords."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from moln.identity import settings
from moln.identity.model.users import User, option_fault
from moln.identity.ops import directories, directory_entries, password_rules, signing_in
from moln.identity.ops.access import missing, require, taken
from moln.identity.ops.projects import own_domain
from moln.identity.ops.state import of, people_changed
from moln.identity.ops.tokens import unauthorized
from moln.identity.store import credentials, directory, federation, oauth1, trusts
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
    if user is not None:
        user = await _as_it_is_now(ctx, user)
    if user is None:
        raise missing("user", user_id)
    return user


async def _as_it_is_now(ctx: RequestContext, user: User) -> User | None:
    """One of a directory as the directory has them; None, when it has them no more. Raises: Unavailable."""
    if user.domain_id not in await directories.domains(ctx.cloud):
        return user
    await directory_entries.refresh_user(ctx.cloud, user.id)
    entry = await directory.find(ctx.db, user.id)
    return await store.find(ctx.db, user.id) if entry is None or entry.present else None


async def create(ctx: RequestContext, values: dict[str, Any], password: str | None) -> User:
    """values: User's fields; without a domain_id the caller's domain. Raises: Forbidden, Invalid, NotFound, Conflict."""
    values = values | {"domain_id": values.get("domain_id") or own_domain(ctx)}
    values["options"] = _options({}, values.get("options", {}))
    user = User(id=ctx.cloud.ids.hex(), **values)
    require(ctx, "identity:create_user", user=user)
    await directories.check_writable(ctx.cloud, domain_id=user.domain_id)
    hashed = await _hash(ctx, password)
    if hashed is not None:
        user = replace(user, **password_rules.times(ctx.cloud, user.options, by_user=False))
    await ctx.db.write(create_in, user, hashed)
    return user


def _options(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """What the options become; a None takes one away. Raises: Invalid."""
    if fault := option_fault(new):
        raise Invalid(f"Invalid input for field options: {fault}.", field="options")
    return {name: value for name, value in (old | new).items() if value is not None}


async def _hash(ctx: RequestContext, password: str | None) -> str | None:
    """Raises: Invalid, for a password that is empty, too long or too weak."""
    if password is None:
        return None
    password_rules.check(ctx.cloud, password)
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
    old = await get(ctx, user_id, "identity:update_user")
    await directories.check_writable(ctx.cloud, user_id)
    hashed = await _hash(ctx, password)
    if "options" in values:
        values = values | {"options": _options(old.options, values["options"])}
    if hashed is not None:
        values = values | password_rules.times(ctx.cloud, values.get("options", old.options), by_user=False)
    return await ctx.db.write(_update_in, user_id, values, hashed, ctx.now_us, settings.of(ctx.cloud).unique_last_passwords)


async def _update_in(tx: Transaction, user_id: str, values: dict[str, Any], password_hash: str | None, now_us: int, kept: int) -> User:
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
    if password_hash:
        await password_rules.keep_old_in(tx, user_id, await store.password_hash(tx, user_id), kept)
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
    if user is None or not user.enabled or await password_rules.is_kept_out(ctx.cloud, user):
        raise unauthorized()
    if await signing_in.proves(ctx.cloud, user.id, original):
        await directories.check_writable(ctx.cloud, user.id)
    await password_rules.note(ctx.cloud, user, right=right)
    if not right:
        raise unauthorized()
    await password_rules.check_change(ctx.cloud, user, hashed, new)
    columns = password_rules.times(ctx.cloud, user.options, by_user=True) | {"password_hash": await _hash(ctx, new), "tokens_from": ctx.now_us}
    await ctx.db.write(_change_in, user_id, hashed, columns, settings.of(ctx.cloud).unique_last_passwords)


async def _change_in(tx: Transaction, user_id: str, old_hash: str | None, columns: dict[str, Any], kept: int) -> None:
    if not await tx.update(USERS, columns, id=user_id, password_hash=old_hash):
        raise unauthorized()
    await password_rules.keep_old_in(tx, user_id, old_hash, kept)
    people_changed(tx, user_id)


async def delete(ctx: RequestContext, user_id: str) -> None:
    """Raises: Forbidden, NotFound."""
    await get(ctx, user_id, "identity:delete_user")
    await directories.check_writable(ctx.cloud, user_id)
    await ctx.db.write(remove_in, user_id)


async def remove_in(tx: Transaction, user_id: str) -> None:
    """Remove a user with their memberships, assignments and credentials."""
    await hold(tx, USERS, user_id)
    await tx.delete(MEMBERSHIPS, user_id=user_id)
    await tx.delete(GRANTS, actor_id=user_id)
    await credentials.forget_user(tx, user_id)
    await trusts.forget(tx, "trustor_user_id", user_id)
    await trusts.forget(tx, "trustee_user_id", user_id)
    await oauth1.forget(tx, user_id=user_id)
    await federation.forget_user(tx, user_id)
    await directory.forget(tx, user_id)
    await store.forget(tx, user_id)
    await tx.delete(USERS, id=user_id)
    people_changed(tx, user_id)
