"""/v3/users/{user_id}/application_credentials"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from moln.identity.api import access_rules, views
from moln.identity.api.access_rules import NewRule
from moln.identity.api.bodies import Name, RoleRef, convert, inner, moment, one
from moln.identity.api.service import base, routes
from moln.identity.model.credentials import ApplicationCredential
from moln.identity.model.users import MAX_PASSWORD
from moln.identity.ops import application_credentials as ops
from moln.identity.store import credentials as store
from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext
from moln.kernel.http import Params

PATH = "/v3/users/{user_id}/application_credentials"


class _New(Struct, forbid_unknown_fields=True):
    name: Name
    description: Annotated[str, Meta(max_length=4096)] | None = None
    secret: Annotated[str, Meta(min_length=1, max_length=MAX_PASSWORD)] | None = None
    expires_at: str | None = None
    roles: Annotated[list[RoleRef], Meta(max_length=100)] | None = None
    unrestricted: bool | None = None
    access_rules: Annotated[list[NewRule], Meta(max_length=100)] | None = None


async def _view(ctx: RequestContext, of: ApplicationCredential) -> dict[str, Any]:
    rules = await store.rules_of(ctx.db, of)
    shown = {} if rules is None else {"access_rules": [access_rules.plain(rule) for rule in rules]}
    return shown | {
        "id": of.id, "name": of.name, "description": of.description, "user_id": of.user_id, "project_id": of.project_id,
        "roles": [{"id": r.id, "name": r.name, "domain_id": r.domain_id} for r in await ops.roles(ctx, of)],
        "expires_at": iso_micro(of.expires_at) if of.expires_at is not None else None, "unrestricted": of.unrestricted,
        "system": None, "links": {"self": f"{base(ctx)}/users/{of.user_id}/application_credentials/{of.id}"},
    }  # fmt: skip


@routes.get(PATH)
async def list_application_credentials(ctx: RequestContext, user_id: str, query: Params) -> Any:
    found = await ops.of_user(ctx, user_id, one(query, "name"))
    shown = [await _view(ctx, c) for c in found]
    return views.collection(ctx, "application_credentials", shown, f"users/{user_id}/application_credentials")


@routes.post(PATH, status=201)
async def create_application_credential(ctx: RequestContext, user_id: str, body: dict[str, Any]) -> Any:
    asked = convert(inner(body, "application_credential"), _New, "application_credential")
    values = {
        "name": asked.name, "description": asked.description, "expires_at": moment(asked.expires_at, "expires_at"),
        "unrestricted": bool(asked.unrestricted),
    }  # fmt: skip
    roles = [(role.id, role.name) for role in asked.roles] if asked.roles is not None else None
    rules = [access_rules.asked(rule) for rule in asked.access_rules] if asked.access_rules else None  # none is none, as the CLI says it
    made, secret = await ops.create(ctx, user_id, values, roles or None, asked.secret, rules)
    return {"application_credential": await _view(ctx, made) | {"secret": secret}}


@routes.get(PATH + "/{credential_id}")
async def show_application_credential(ctx: RequestContext, user_id: str, credential_id: str) -> Any:
    return {"application_credential": await _view(ctx, await ops.get(ctx, user_id, credential_id))}


@routes.delete(PATH + "/{credential_id}")
async def delete_application_credential(ctx: RequestContext, user_id: str, credential_id: str) -> None:
    await ops.delete(ctx, user_id, credential_id)
