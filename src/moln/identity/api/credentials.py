"""/v3/credentials, /v3/users/{id}/credentials/OS-EC2 and /v3/policies."""

from __future__ import annotations

import json
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from moln.identity.api import views
from moln.identity.api.bodies import Id, convert, one, take
from moln.identity.api.service import base, routes
from moln.identity.model.credentials import Credential, Policy
from moln.identity.ops import credentials as ops
from moln.identity.ops import policies
from moln.identity.ops.access import require
from moln.identity.store.credentials import POLICY_LISTING
from moln.kernel.context import RequestContext
from moln.kernel.http import Params

Type = Annotated[str, Meta(min_length=1, max_length=255)]


class _Credential(Struct):
    blob: str | UnsetType = UNSET
    type: Type | UnsetType = UNSET
    user_id: Id | UnsetType = UNSET
    project_id: Id | None | UnsetType = UNSET


class _NewCredential(_Credential, kw_only=True):
    blob: str
    type: Type


def _view(ctx: RequestContext, of: Credential) -> dict[str, Any]:
    return of.extra | {
        "id": of.id, "type": of.type, "user_id": of.user_id, "project_id": of.project_id, "blob": ops.blob(ctx.cloud, of),
        "links": {"self": f"{base(ctx)}/credentials/{of.id}"},
    }  # fmt: skip


@routes.get("/v3/credentials")
async def list_credentials(ctx: RequestContext, query: Params) -> Any:
    found = await ops.visible(ctx, one(query, "user_id"), one(query, "type"))
    return views.collection(ctx, "credentials", [_view(ctx, c) for c in found], "credentials")


@routes.post("/v3/credentials", status=201)
async def create_credential(ctx: RequestContext, body: dict[str, Any]) -> Any:
    return {"credential": _view(ctx, await ops.create(ctx, take(body, "credential", _NewCredential)))}


@routes.get("/v3/credentials/{credential_id}")
async def show_credential(ctx: RequestContext, credential_id: str) -> Any:
    return {"credential": _view(ctx, await ops.get(ctx, credential_id))}


@routes.patch("/v3/credentials/{credential_id}")
async def update_credential(ctx: RequestContext, credential_id: str, body: dict[str, Any]) -> Any:
    values = take(body, "credential", _Credential, credential_id)
    return {"credential": _view(ctx, await ops.update(ctx, credential_id, values))}


@routes.delete("/v3/credentials/{credential_id}")
async def delete_credential(ctx: RequestContext, credential_id: str) -> None:
    await ops.delete(ctx, credential_id)


class _NewEc2(Struct):
    tenant_id: str


EC2 = "/v3/users/{user_id}/credentials/OS-EC2"


def _ec2_view(ctx: RequestContext, of: Credential) -> dict[str, Any]:
    keys = json.loads(ops.blob(ctx.cloud, of))
    return {
        "user_id": of.user_id, "tenant_id": of.project_id, "access": keys["access"], "secret": keys.get("secret"),
        "trust_id": keys.get("trust_id"), "links": {"self": f"{base(ctx)}/users/{of.user_id}/credentials/OS-EC2/{keys['access']}"},
    }  # fmt: skip


@routes.get(EC2)
async def list_ec2_credentials(ctx: RequestContext, user_id: str) -> Any:
    found = await ops.list_ec2(ctx, user_id)
    return views.collection(ctx, "credentials", [_ec2_view(ctx, c) for c in found], f"users/{user_id}/credentials/OS-EC2")


@routes.post(EC2, status=201)
async def create_ec2_credential(ctx: RequestContext, user_id: str, body: dict[str, Any]) -> Any:
    asked = convert(body, _NewEc2)
    return {"credential": _ec2_view(ctx, await ops.create_ec2(ctx, user_id, asked.tenant_id))}


@routes.get(EC2 + "/{access}")
async def show_ec2_credential(ctx: RequestContext, user_id: str, access: str) -> Any:
    return {"credential": _ec2_view(ctx, await ops.get_ec2(ctx, user_id, access))}


@routes.delete(EC2 + "/{access}")
async def delete_ec2_credential(ctx: RequestContext, user_id: str, access: str) -> None:
    await ops.delete_ec2(ctx, user_id, access)


class _Policy(Struct):
    type: Type | UnsetType = UNSET
    blob: str | UnsetType = UNSET


class _NewPolicy(Struct):
    type: Type
    blob: str


def policy_view(ctx: RequestContext, of: Policy) -> dict[str, Any]:
    return of.extra | {"id": of.id, "type": of.type, "blob": of.blob, "links": {"self": f"{base(ctx)}/policies/{of.id}"}}


@routes.get("/v3/policies")
async def list_policies(ctx: RequestContext, query: Params) -> Any:
    require(ctx, "identity:list_policies")
    return await views.page(ctx, POLICY_LISTING, "policies", policy_view, query, views.filters(type=one(query, "type")))


@routes.post("/v3/policies", status=201)
async def create_policy(ctx: RequestContext, body: dict[str, Any]) -> Any:
    return {"policy": policy_view(ctx, await policies.create(ctx, take(body, "policy", _NewPolicy)))}


@routes.get("/v3/policies/{policy_id}")
async def show_policy(ctx: RequestContext, policy_id: str) -> Any:
    return {"policy": policy_view(ctx, await policies.get(ctx, policy_id))}


@routes.patch("/v3/policies/{policy_id}")
async def update_policy(ctx: RequestContext, policy_id: str, body: dict[str, Any]) -> Any:
    return {"policy": policy_view(ctx, await policies.update(ctx, policy_id, take(body, "policy", _Policy, policy_id)))}


@routes.delete("/v3/policies/{policy_id}")
async def delete_policy(ctx: RequestContext, policy_id: str) -> None:
    await policies.delete(ctx, policy_id)
