"""/v3/users/{user_id}/application_credentials"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from moln.identity.api import views
from moln.identity.api.bodies import Name, convert, one
from moln.identity.api.service import base, routes
from moln.identity.model.credentials import ApplicationCredential
from moln.identity.model.users import MAX_PASSWORD
from moln.identity.ops import application_credentials as ops
from moln.kernel.clock import iso_micro, parse_iso
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Params

PATH = "/v3/users/{user_id}/application_credentials"


class _RoleRef(Struct):
    id: str | None = None
    name: str | None = None


class _New(Struct, forbid_unknown_fields=True):
    name: Name
    description: Annotated[str, Meta(max_length=4096)] | None = None
    secret: Annotated[str, Meta(min_length=1, max_length=MAX_PASSWORD)] | None = None
    expires_at: str | None = None
    roles: Annotated[list[_RoleRef], Meta(max_length=100)] | None = None
    unrestricted: bool | None = None


async def _view(ctx: RequestContext, of: ApplicationCredential) -> dict[str, Any]:
    return {
        "id": of.id, "name": of.name, "description": of.description, "user_id": of.user_id, "project_id": of.project_id,
        "roles": [{"id": r.id, "name": r.name, "domain_id": r.domain_id} for r in await ops.roles(ctx, of)],
        "expires_at": iso_micro(of.expires_at) if of.expires_at is not None else None, "unrestricted": of.unrestricted,
        "system": None, "links": {"self": f"{base(ctx)}/users/{of.user_id}/application_credentials/{of.id}"},
    }  # fmt: skip


def _time(text: str | None) -> int | None:
    """Raises: Invalid."""
    try:
        return parse_iso(text) if text else None
    except ValueError:
        raise Invalid(f"Invalid input for field expires_at: {text!r} is not a time.", field="expires_at") from None


@routes.get(PATH)
async def list_application_credentials(ctx: RequestContext, user_id: str, query: Params) -> Any:
    found = await ops.of_user(ctx, user_id, one(query, "name"))
    shown = [await _view(ctx, c) for c in found]
    return views.collection(ctx, "application_credentials", shown, f"users/{user_id}/application_credentials")


@routes.post(PATH, status=201)
async def create_application_credential(ctx: RequestContext, user_id: str, body: dict[str, Any]) -> Any:
    if not isinstance(body.get("application_credential"), dict):
        raise Invalid("'application_credential' is a required property", field="application_credential")
    asked = convert(body["application_credential"], _New, "application_credential")
    values = {
        "name": asked.name, "description": asked.description, "expires_at": _time(asked.expires_at),
        "unrestricted": bool(asked.unrestricted),
    }  # fmt: skip
    roles = [(role.id, role.name) for role in asked.roles] if asked.roles is not None else None
    made, secret = await ops.create(ctx, user_id, values, roles or None, asked.secret)
    return {"application_credential": await _view(ctx, made) | {"secret": secret}}


@routes.get(PATH + "/{credential_id}")
async def show_application_credential(ctx: RequestContext, user_id: str, credential_id: str) -> Any:
    return {"application_credential": await _view(ctx, await ops.get(ctx, user_id, credential_id))}


@routes.delete(PATH + "/{credential_id}")
async def delete_application_credential(ctx: RequestContext, user_id: str, credential_id: str) -> None:
    await ops.delete(ctx, user_id, credential_id)
