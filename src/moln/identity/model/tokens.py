"""What a token says, and its compact form inside the Fernet envelope."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from msgspec import Struct

from moln.identity.model.credentials import ApplicationCredential, KeptRule
from moln.identity.model.oauth1 import AccessToken
from moln.identity.model.trusts import Trust
from moln.identity.model.users import User
from moln.kernel.context import Identity

METHODS = ("password", "token", "application_credential", "totp", "oauth1", "mapped", "ec2credential", "oauth2_credential")  # new ones at the end
_VERSION = 1
UNSCOPED, PROJECT, DOMAIN, SYSTEM_SCOPE = range(4)


class Scope(Struct, frozen=True):
    """What a token is good for: one of them, or none (unscoped)."""

    project_id: str | None = None
    domain_id: str | None = None
    system: bool = False


class Federated(Struct, frozen=True, array_like=True):
    """Where a federated user comes from, and the groups that they are in for the life of the token."""

    idp_id: str
    protocol_id: str
    group_ids: tuple[str, ...] = ()


class Payload(Struct, frozen=True):
    """Everything that a token carries; names and roles are looked up when it is opened.

    issued_at, expires_at: µs UTC. audit_ids: the token's own, then that of the first of its chain.
    application_credential_id, trust_id, access_token_id: what it came from, which bounds its roles.
    federated: the identity provider, the protocol and the groups that a mapping gave. thumbprint: of the certificate that it is bound to.
    """

    user_id: str
    methods: tuple[str, ...]
    scope: Scope
    issued_at: int
    expires_at: int
    audit_ids: tuple[str, ...]
    application_credential_id: str | None = None
    trust_id: str | None = None
    access_token_id: str | None = None
    federated: Federated | None = None
    thumbprint: str | None = None

    @property
    def lent(self) -> bool:
        """Whether it was delegated in a way that leads to no other token."""
        return self.trust_id is not None or self.access_token_id is not None or "ec2credential" in self.methods


class _WireFederated(Struct, array_like=True):
    idp_id: str
    protocol_id: str
    group_ids: list[Any] = []  # bytes or str


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
    trust: Any = None  # so are these
    access_token: Any = None
    federated: _WireFederated | None = None
    thumbprint: str | None = None


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
    federated = payload.federated
    origin = None if federated is None else _WireFederated(federated.idp_id, federated.protocol_id, [_short(id_) for id_ in federated.group_ids])
    audit_ids = [base64.urlsafe_b64decode(audit_id + "==") for audit_id in payload.audit_ids]
    return _encode(
        _Wire(_VERSION, _short(payload.user_id), methods, kind, target and _short(target), payload.issued_at,
              payload.expires_at, audit_ids, _maybe(payload.application_credential_id),
              _maybe(payload.trust_id), _maybe(payload.access_token_id), origin, payload.thumbprint)
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
        trust_id=None if wire.trust is None else _long(wire.trust),
        access_token_id=None if wire.access_token is None else _long(wire.access_token),
        federated=None if wire.federated is None else _federated(wire.federated),
        thumbprint=wire.thumbprint,
    )  # fmt: skip


def _federated(wire: _WireFederated) -> Federated:
    """Raises: ValueError."""
    if not all(isinstance(id_, bytes | str) for id_ in wire.group_ids):
        raise ValueError("no token of ours")
    return Federated(wire.idp_id, wire.protocol_id, tuple(_long(id_) for id_ in wire.group_ids))


_RECEIPT = 101  # a version that no token has
_receipt_decoder = msgspec.msgpack.Decoder(tuple[int, str, tuple[str, ...], int, int])


class Receipt(Struct, frozen=True):
    """What somebody has proved already, when their rules ask for more. issued_at, expires_at: µs UTC."""

    user_id: str
    methods: tuple[str, ...]
    issued_at: int
    expires_at: int


def pack_receipt(receipt: Receipt) -> bytes:
    return _encode((_RECEIPT, receipt.user_id, receipt.methods, receipt.issued_at, receipt.expires_at))


def unpack_receipt(raw: bytes) -> Receipt:
    """Raises: ValueError, when it is not what pack_receipt made."""
    try:
        version, user_id, methods, issued_at, expires_at = _receipt_decoder.decode(raw)
    except msgspec.MsgspecError as error:
        raise ValueError("no receipt of ours") from error
    if version != _RECEIPT:
        raise ValueError("no receipt of ours")
    return Receipt(user_id, methods, issued_at, expires_at)


def audit_id(raw: bytes) -> str:
    """16 random bytes as they stand on the wire: 22 characters."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _short(id_: str) -> Any:
    """32 or 64 hex digits in 16 or 32 bytes; any other id as it is."""
    try:
        raw = bytes.fromhex(id_)
    except ValueError:
        return id_
    return raw if len(raw) in (16, 32) and raw.hex() == id_ else id_


def _maybe(id_: str | None) -> Any:
    return None if id_ is None else _short(id_)


def _long(id_: bytes | str) -> str:
    return id_.hex() if isinstance(id_, bytes) else id_


class Ref(Struct, frozen=True):
    """Something by id and name."""

    id: str
    name: str


class OpenToken(Struct):
    """A token opened and found good: what it says now. rendered: its views, by whether they hold the catalogue.

    users: whose changes concern it. access_rules: of its application credential, with their ids. account: the user, whole.
    """

    payload: Payload
    identity: Identity
    user: Ref
    user_domain: Ref
    project: Ref | None
    project_domain: Ref | None
    domain: Ref | None
    roles: tuple[Ref, ...]
    application_credential: ApplicationCredential | None = None
    access_rules: tuple[KeptRule, ...] | None = None
    trust: Trust | None = None
    access_token: AccessToken | None = None
    users: tuple[str, ...] = ()
    password_expires_at: int | None = None
    account: User | None = None
    rendered: dict[bool, Any] = {}
