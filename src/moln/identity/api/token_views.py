"""Tokens as they look on the wire."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType

from moln.identity.model.tokens import OpenToken, Ref
from moln.identity.ops import catalog, saml
from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext


class _Within(Struct, frozen=True):
    domain: Ref
    id: str
    name: str


class _UserView(Struct, frozen=True, rename={"federation": "OS-FEDERATION"}):
    domain: Ref
    id: str
    name: str
    password_expires_at: str | None = None
    federation: dict[str, Any] | UnsetType = UNSET


class _ProgramView(Struct, frozen=True):
    id: str
    name: str
    restricted: bool
    access_rules: list[dict[str, str]] | UnsetType = UNSET


class _TokenView(Struct, frozen=True, rename={"trust": "OS-TRUST:trust", "oauth1": "OS-OAUTH1"}):
    methods: tuple[str, ...]
    user: _UserView
    audit_ids: tuple[str, ...]
    expires_at: str
    issued_at: str
    system: dict[str, bool] | UnsetType = UNSET
    domain: Ref | UnsetType = UNSET
    project: _Within | UnsetType = UNSET
    is_domain: bool | UnsetType = UNSET
    roles: tuple[Ref, ...] | UnsetType = UNSET
    catalog: Raw | UnsetType = UNSET
    application_credential: _ProgramView | UnsetType = UNSET
    trust: dict[str, Any] | UnsetType = UNSET
    oauth1: dict[str, str] | UnsetType = UNSET
    service_providers: list[dict[str, str]] | UnsetType = UNSET
    oauth2_credential: dict[str, str] | UnsetType = UNSET


class TokenReply(Struct, frozen=True):
    token: _TokenView


async def view(ctx: RequestContext, of: OpenToken, with_catalog: bool) -> TokenReply:
    """What an opened token says, made once and kept with it."""
    made: TokenReply | None = of.rendered.get(with_catalog)
    if made is not None:
        return made
    payload = of.payload
    scoped = bool(payload.scope.project_id or payload.scope.domain_id or payload.scope.system)
    entries: Raw | UnsetType = UNSET
    if with_catalog and scoped:
        entries = await catalog.entries(ctx, payload.user_id, payload.scope.project_id)
    shown = _TokenView(
        methods=payload.methods,
        user=_user(of),
        audit_ids=payload.audit_ids,
        expires_at=iso_micro(payload.expires_at, suffix="Z"),
        issued_at=iso_micro(payload.issued_at, suffix="Z"),
        system={"all": True} if payload.scope.system else UNSET,
        domain=of.domain or UNSET,
        project=_Within(of.project_domain, of.project.id, of.project.name) if of.project and of.project_domain else UNSET,
        is_domain=False if of.project else UNSET,
        roles=of.roles if scoped else UNSET,
        catalog=entries,
        application_credential=_program(of),
        trust=_trust(of),
        oauth1={"access_token_id": of.access_token.id, "consumer_id": of.access_token.consumer_id} if of.access_token else UNSET,
        service_providers=(await saml.providers(ctx.cloud) or UNSET) if scoped else UNSET,
        oauth2_credential={"x5t#S256": payload.thumbprint} if payload.thumbprint else UNSET,
    )
    made = of.rendered[with_catalog] = TokenReply(shown)
    return made


def _user(of: OpenToken) -> _UserView:
    expires = iso_micro(of.password_expires_at) if of.password_expires_at is not None else None
    federated = of.payload.federated
    if federated is None:
        return _UserView(of.user_domain, of.user.id, of.user.name, expires)
    origin = {"identity_provider": {"id": federated.idp_id}, "protocol": {"id": federated.protocol_id}}
    return _UserView(of.user_domain, of.user.id, of.user.name, None, origin | {"groups": [{"id": id_} for id_ in federated.group_ids]})


def _program(of: OpenToken) -> _ProgramView | UnsetType:
    program, rules = of.application_credential, of.access_rules
    if program is None:
        return UNSET
    shown = UNSET if rules is None else [{"id": r.id, "path": r.path, "method": r.method, "service": r.service} for r in rules]
    return _ProgramView(program.id, program.name, not program.unrestricted, shown)


def _trust(of: OpenToken) -> dict[str, Any] | UnsetType:
    trust = of.trust
    if trust is None:
        return UNSET
    return {
        "id": trust.id, "impersonation": trust.impersonation,
        "trustor_user": {"id": trust.trustor_user_id}, "trustee_user": {"id": trust.trustee_user_id},
    }  # fmt: skip


def headers(token: str) -> dict[str, str]:
    return {"X-Subject-Token": token, "Vary": "X-Auth-Token"}
