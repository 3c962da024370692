"""People and groups of a directory (LDAP, Active Directory), and what they are called here."""

from __future__ import annotations

import hashlib
from typing import Any

from msgspec import Struct


class Person(Struct, frozen=True):
    """local_id: what the directory tells them from others by. dn: where they are in it. extra: what else is shown of them."""

    local_id: str
    name: str
    dn: str
    enabled: bool = True
    default_project_id: str | None = None
    extra: dict[str, Any] = {}


class Circle(Struct, frozen=True):
    """A group of a directory."""

    local_id: str
    name: str
    dn: str
    description: str = ""
    extra: dict[str, Any] = {}


class Entry(Struct, frozen=True):
    """Who or what of a directory is known here. id: ours. kind: user or group. present: whether the directory had it at the last look.

    signed_in_at: when somebody first did, µs UTC; 0: never, so that there can be no token of theirs.
    """

    id: str
    domain_id: str
    kind: str
    local_id: str
    present: bool = True
    signed_in_at: int = 0


def public_id(domain_id: str, kind: str, local_id: str) -> str:
    """The id of an entry: the same in every cloud and after every loss, and the same as Keystone's (its id generator `sha256`)."""
    return hashlib.sha256("".join((domain_id, kind, local_id)).encode()).hexdigest()
