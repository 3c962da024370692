"""Users and domains as callers name them."""

from __future__ import annotations

from msgspec import Struct

from moln.identity.model.projects import Project
from moln.identity.model.users import User
from moln.identity.ops.access import lacking
from moln.identity.ops.state import State
from moln.identity.store import projects as project_store
from moln.identity.store import users as user_store
from moln.kernel.db import Reader


class Named(Struct, frozen=True):
    """Something by its id, or by its name and that of its domain."""

    id: str | None = None
    name: str | None = None
    domain: Named | None = None


def check_named(who: Named) -> None:
    """Raises: Invalid, when it names no user."""
    if who.id is None and who.name is None:
        raise lacking("id or name", "user")
    if who.id is None and who.domain is None:
        raise lacking("domain", "user")


async def find_user(db: Reader, who: Named, state: State | None = None) -> User | None:
    """state: what may remember the domain."""
    if who.id is not None:
        return await user_store.find(db, who.id)
    domain = await find_domain(db, who.domain or Named(), state)
    return await user_store.find_named(db, who.name or "", domain.id) if domain else None


async def find_user_with_hash(db: Reader, who: Named, state: State) -> tuple[User | None, str | None]:
    """`find_user`, and the hash of their password: one read instead of two."""
    if who.id is not None:
        return await user_store.find_with_hash(db, who.id) or (None, None)
    domain = await find_domain(db, who.domain or Named(), state)
    return (await user_store.find_named_with_hash(db, who.name or "", domain.id) if domain else None) or (None, None)


async def find_domain(db: Reader, which: Named, state: State | None = None) -> Project | None:
    """state: what may remember it."""
    if which.id is not None:
        return await (state.domain(db, which.id) if state else project_store.find_domain(db, which.id))
    return await project_store.find_domain_named(db, which.name or "")
