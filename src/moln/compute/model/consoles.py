"""Consoles: what a token opens (compute v2.1 api-ref, "Server consoles")."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Kind(StrEnum):
    """What can be opened."""

    VNC, SERIAL = "vnc", "serial"


class ConsoleToken(Struct, frozen=True):
    """What one token opens: one console, on one host, of the server as it was then. It is known by its SHA-256 only.

    generation: of the server; a host that was told a higher one refuses. expires_at: µs UTC.
    """

    digest: str
    server_id: str
    kind: Kind
    host: str
    generation: int
    request_id: str
    expires_at: int
