"""Who may do what with which properties of images (Glance's property-protections.conf, by roles)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

DEEDS = ("create", "read", "update", "delete")
EVERYBODY, NOBODY = "@", "!"


class Protection(Struct, frozen=True, forbid_unknown_fields=True):
    """Roles that may do it; `@` is everybody and `!` nobody, as is no role at all."""

    create: list[str] = []
    read: list[str] = []
    update: list[str] = []
    delete: list[str] = []


class Protections:
    """The rules in their order: the first whose expression the name begins with decides. A name that none knows is nobody's.

    Raises: ValueError, for what is no regular expression.
    """

    def __init__(self, rules: Mapping[str, Protection]):
        try:
            self._rules = [(re.compile(expression), rule) for expression, rule in rules.items()]
        except re.error as error:
            raise ValueError(f"{error.pattern!r} is no regular expression: {error}") from None

    def __bool__(self) -> bool:
        """Whether anything is protected at all."""
        return bool(self._rules)

    def allows(self, name: str, deed: str, roles: frozenset[str]) -> bool:
        """Whether somebody with these roles (in lower case) may do it."""
        rule = next((rule for expression, rule in self._rules if expression.match(name)), None)
        if rule is None:
            return False
        said: list[str] = getattr(rule, deed)
        return NOBODY not in said and (EVERYBODY in said or any(role.lower() in roles for role in said))
