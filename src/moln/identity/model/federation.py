"""Federation's objects (identity v3-ext api-ref, "OS-FEDERATION")."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class IdentityProvider(Struct, frozen=True):
    """Who vouches for users. domain_id: where they are here. remote_ids: what the provider calls itself.

    authorization_ttl: how long group memberships last beyond a token, in minutes.
    """

    id: str
    domain_id: str
    enabled: bool = False
    description: str | None = None
    remote_ids: list[str] = []
    authorization_ttl: int | None = None


class Protocol(Struct, frozen=True):
    """How a provider speaks, and the mapping of what it says. remote_id_attribute: where its remote id is in that."""

    id: str
    idp_id: str
    mapping_id: str
    remote_id_attribute: str | None = None


class Mapping(Struct, frozen=True):
    """rules: as they were written (model/mapping.py reads them)."""

    id: str
    rules: list[Any]
    schema_version: str = "1.0"


class ServiceProvider(Struct, frozen=True):
    """Another cloud that takes our users."""

    id: str
    auth_url: str
    sp_url: str
    enabled: bool = False
    description: str | None = None
    relay_state_prefix: str = "ss:mem:"
