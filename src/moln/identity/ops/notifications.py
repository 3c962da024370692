"""What others are told of users, projects, domains, groups and roles: which one, as Keystone's basic notifications do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec.structs import replace

from moln.identity.model.projects import Project
from moln.identity.model.roles import Role
from moln.identity.model.users import Group, User
from moln.identity.store.groups import GROUPS
from moln.identity.store.projects import PROJECTS
from moln.identity.store.roles import ROLES
from moln.identity.store.users import USERS
from moln.kernel.db import Reader
from moln.kernel.notifications.events import Event, Kind, of_rows


def _of(what: str) -> Callable[[Reader, Any, Any], Awaitable[list[Event]]]:
    async def tell(reader: Reader, before: Any, after: Any) -> list[Event]:
        row = after or before
        if isinstance(before, User) and isinstance(after, User) and replace(before, tokens_from=after.tokens_from) == after:
            return []  # tokens were revoked
        kind = "domain" if getattr(row, "is_domain", False) else what
        done = "created" if before is None else "deleted" if after is None else "updated"
        return [Event(f"identity.{kind}.{done}", "ResourceInfo", {"resource_info": row.id})]

    return tell


KINDS = tuple(
    Kind(table, of_rows(shape, table), _of(what), "identity", "identity")
    for what, table, shape in (("user", USERS, User), ("project", PROJECTS, Project), ("group", GROUPS, Group), ("role", ROLES, Role))
)
