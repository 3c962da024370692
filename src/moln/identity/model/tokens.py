"""What a token says, and its compact form inside the Fernet envelope."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from msgspec import Struct

from moln.identity.model.credentials import ApplicationCredential
from moln.kernel.context import Identity

METHODS = ("password", "token", "application_credential")
_VERSION = 1
UNSCOPED, PROJECT, DOMAIN, SYSTEM_SCOPE = range(4)


class Scope(Struct, frozen=True):
    """What a token is good for: one of them, or none (unscoped)."""

    project_id: str | None = None
    domain_id: str | None = None
    system: bool = False


class Payload(Struct, frozen=True):
    """Everything that a token carries; names and roles are looked up when it is opened.

    issued_at, expires_at: µs UTC. audit_ids: the token's own, then that of the first of its chain.
    application_credential_id: the credential that it came from, which bounds its roles.
    """

    user_id: str
    methods: tuple[str, ...]
    scope: Scope
    issued_at: int
    expires_at: int
    audit_ids: tuple[str, ...]
    application_credential_id: str | None = None


class _Wire(Struct, array_like=True):
    version: int
    user: Any  # bytes or str
    methods: int
    scope: int
    target: Any  # bytes, str or None
    issued_at: int
    expires_at: int
    audit_ids: list[bytes]
    application_credential: Any = None  # bytes, str or None


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(_Wire)


def pack(payload: Payload) -> bytes:
    scope = payload.scope
    if scope.project_id is not None:
        kind, target = PROJECT, scope.project_id
    elif scope.domain_id is not None:
        kind, target = DOMAIN, scope.domain_id
    else:
        kind, target = (SYSTEM_SCOPE if scope.system else UNSCOPED), None
    methods = sum(1 << METHODS.index(method) for method in payload.methods)
    audit_ids = [base64.urlsafe_b64decode(audit_id + "==") for audit_id in payload.audit_ids]
    return _encode(
        _Wire(_VERSION, _short(payload.user_id), methods, kind, target and _short(target), payload.issued_at,
              payload.expires_at, audit_ids, payload.application_credential_id and _short(payload.application_credential_id))
    )  # fmt: skip


def unpack(raw: bytes) -> Payload:
    """Raises: ValueError, when it is not what pack made."""
    try:
        wire = _decoder.decode(raw)
    except msgspec.MsgspecError as error:
        raise ValueError("no token of ours") from error
    if wire.version != _VERSION or wire.methods >> len(METHODS) or not wire.audit_ids or not isinstance(wire.user, bytes | str):
        raise ValueError("no token of ours")
    target = None if wire.target is None else _long(wire.target)
    return Payload(
        user_id=_long(wire.user),
        methods=tuple(method for at, method in enumerate(METHODS) if wire.methods >> at & 1),
        scope=Scope(target if wire.scope == PROJECT else None, target if wire.scope == DOMAIN else None,
                    wire.scope == SYSTEM_SCOPE),
        issued_at=wire.issued_at,
        expires_at=wire.expires_at,
        audit_ids=tuple(audit_id(raw_id) for raw_id in wire.audit_ids),
        application_credential_id=None if wire.application_credential is None else _long(wire.application_credential),
    )  # fmt: skip


def audit_id(raw: bytes) -> str:
    """16 random bytes as they stand on the wire: 22 characters."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _short(id_: str) -> Any:
    """32 hex digits in 16 bytes; any other id as it is."""
    try:
        raw = bytes.fromhex(id_)
    except ValueError:
        return id_
    return raw if len(raw) == 16 and raw.hex() == id_ else id_


def _long(id_: bytes | str) -> str:
    return id_.hex() if isinstance(id_, bytes) else id_


class Ref(Struct, frozen=True):
    """Something by id and name."""

    id: str
    name: str


class OpenToken(Struct):
    """A token opened and found good: what it says now. rendered: its views, by whether they hold the catalogue."""

    payload: Payload
    identity: Identity
    user: Ref
    user_domain: Ref
    project: Ref | None
    project_domain: Ref | None
    domain: Ref | None
    roles: tuple[Ref, ...]
    application_credential: ApplicationCredential | None = None
    rendered: dict[bool, Any] = {}
