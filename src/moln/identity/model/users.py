"""Users and groups (identity v3 api-ref, "Users" and "Groups")."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

MAX_PASSWORD = 4096  # characters


class User(Struct, frozen=True):
    """Who may ask for tokens. tokens_from: tokens issued before it are void, µs UTC. extra: what else the creator wrote."""

    id: str
    name: str
    domain_id: str
    enabled: bool = True
    default_project_id: str | None = None
    tokens_from: int = 0
    options: dict[str, Any] = {}
    extra: dict[str, Any] = {}


class Group(Struct, frozen=True):
    """Users of one domain who share role assignments."""

    id: str
    name: str
    domain_id: str
    description: str = ""
    extra: dict[str, Any] = {}
