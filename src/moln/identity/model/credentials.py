"""What somebody keeps here, and what they let programs sign in with (identity v3 api-ref, "Credentials", "Application credentials")."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

EC2, TOTP = "ec2", "totp"
MAX_BLOB = 64 << 10  # characters


class Credential(Struct, frozen=True):
    """A secret kept for a user. sealed: the blob as it is kept; nobody reads it without the key in the home."""

    id: str
    type: str
    user_id: str
    sealed: str
    project_id: str | None = None
    extra: dict[str, Any] = {}


class ApplicationCredential(Struct, frozen=True):
    """A user's roles on one project, or some of them, for a program that need not know the password.

    roles: ids. expires_at: µs UTC. unrestricted: tokens of it may make further credentials. access_rules: ids of the only requests that
    its tokens are good for; None: all.
    """

    id: str
    name: str
    user_id: str
    project_id: str
    description: str | None = None
    roles: list[str] = []
    expires_at: int | None = None
    unrestricted: bool = False
    access_rules: list[str] | None = None


class KeptRule(Struct, frozen=True):
    """A user's access rule: a request that their application credentials may be bound to. path: may hold *, ** and {name}."""

    id: str
    user_id: str
    service: str
    method: str
    path: str


class Policy(Struct, frozen=True):
    """A text that an administrator keeps for other services; identity itself never reads it."""

    id: str
    type: str
    blob: str
    extra: dict[str, Any] = {}
