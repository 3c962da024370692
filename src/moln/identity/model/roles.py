"""Roles, which imply each other, and their assignments (identity v3 api-ref, "Roles")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

SYSTEM = "system"  # the target's id of an assignment on the system


class Role(Struct, frozen=True):
    """A role; with a domain_id it only stands for the roles that it implies. options: `immutable`."""

    id: str
    name: str
    domain_id: str | None = None
    description: str | None = None
    options: dict[str, Any] = {}
    extra: dict[str, Any] = {}

    @property
    def immutable(self) -> bool:
        return self.options.get("immutable") is True


class Grant(Struct, frozen=True):
    """A role given to an actor on a target.

    actor_kind: "user" or "group". target_kind: "project", "domain" or "system". inherited: it holds on the projects below
    the target and not on the target itself.
    """

    actor_kind: str
    actor_id: str
    target_kind: str
    target_id: str
    role_id: str
    inherited: bool = False


def implied(roles: Iterable[str], implications: Mapping[str, Iterable[str]]) -> set[str]:
    """The roles and all that they imply, directly or through others."""
    found: set[str] = set()
    open_ = list(roles)
    while open_:
        role = open_.pop()
        if role not in found:
            found.add(role)
            open_.extend(implications.get(role, ()))
    return found


class Assignment(Struct, frozen=True):
    """A grant as it is, or one of those that it amounts to (effective): for a member of its group, on a project below its
    target, of a role that its role implies.

    via_group, via_target, via_role: what the grant itself names, where that is something else.
    """

    grant: Grant
    via_group: str | None = None
    via_target: tuple[str, str] | None = None
    via_role: str | None = None
