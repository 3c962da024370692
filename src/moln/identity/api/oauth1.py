"""/v3/OS-OAUTH1 and /v3/users/{user_id}/OS-OAUTH1/access_tokens"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

import falcon.asgi
from msgspec import UNSET, Meta, Struct, UnsetType

from moln.identity.api import views
from moln.identity.api.bodies import RoleRef, convert, take
from moln.identity.api.service import base, routes
from moln.identity.model.oauth1 import AccessToken, Consumer, parse_header
from moln.identity.ops import consumers as consumer_ops
from moln.identity.ops import oauth1 as ops
from moln.identity.ops.access import require
from moln.identity.ops.oauth1 import Signed
from moln.identity.store.oauth1 import LISTING
from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid, NotFound
from moln.kernel.http import Params, Reply

ROOT = "/v3/OS-OAUTH1"
FORM = "application/x-www-form-urlencoded"


class _Consumer(Struct):
    description: Annotated[str, Meta(max_length=4096)] | None | UnsetType = UNSET


class _Roles(Struct):
    roles: Annotated[list[RoleRef], Meta(min_length=1, max_length=100)]


def _view(ctx: RequestContext, of: Consumer) -> dict[str, Any]:
    return of.extra | {"id": of.id, "description": of.description, "links": {"self": f"{base(ctx)}/OS-OAUTH1/consumers/{of.id}"}}


@routes.get(f"{ROOT}/consumers")
async def list_consumers(ctx: RequestContext, query: Params) -> Any:
    require(ctx, "identity:list_consumers")
    return await views.page(ctx, LISTING, "consumers", _view, query, [], "OS-OAUTH1/consumers")


@routes.post(f"{ROOT}/consumers", status=201)
async def create_consumer(ctx: RequestContext, body: dict[str, Any]) -> Any:
    made, secret = await consumer_ops.create(ctx, take(body, "consumer", _Consumer))
    return {"consumer": _view(ctx, made) | {"secret": secret}}


@routes.get(f"{ROOT}/consumers/{{consumer_id}}")
async def show_consumer(ctx: RequestContext, consumer_id: str) -> Any:
    return {"consumer": _view(ctx, await consumer_ops.get(ctx, consumer_id))}


@routes.patch(f"{ROOT}/consumers/{{consumer_id}}")
async def update_consumer(ctx: RequestContext, consumer_id: str, body: dict[str, Any]) -> Any:
    return {"consumer": _view(ctx, await consumer_ops.update(ctx, consumer_id, take(body, "consumer", _Consumer, consumer_id)))}


@routes.delete(f"{ROOT}/consumers/{{consumer_id}}")
async def delete_consumer(ctx: RequestContext, consumer_id: str) -> None:
    await consumer_ops.delete(ctx, consumer_id)


def signed(ctx: RequestContext, request: falcon.asgi.Request) -> Signed:
    """What a request says of itself in OAuth's words. Clients sign the address that they know: the catalogue's, or the one they called."""
    path = request.path
    below = path[path.index("/v3") :]
    called = f"{request.scheme}://{request.host}" + (f":{request.port}" if request.port not in (80, 443) else "")
    urls = dict.fromkeys((base(ctx).removesuffix("/v3") + below, ctx.settings.public_url + path, called + path))
    query = tuple(parse_qsl(request.query_string, keep_blank_values=True))
    return Signed(request.method, tuple(urls), parse_header(request.get_header("Authorization") or ""), query)


def _form(**values: str) -> Reply:
    return Reply(urlencode(values).encode(), status=201, media_type=FORM)


@routes.post(f"{ROOT}/request_token", status=201, public=True)
async def create_request_token(ctx: RequestContext, request: falcon.asgi.Request) -> Reply:
    project_id = request.get_header("Requested-Project-Id")
    if not project_id:
        raise Invalid("The header Requested-Project-Id is missing.", field="Requested-Project-Id")
    made, secret = await ops.ask(ctx.cloud, signed(ctx, request), project_id)
    return _form(oauth_token=made.id, oauth_token_secret=secret, oauth_expires_at=iso_micro(made.expires_at, suffix="Z"))


@routes.put(f"{ROOT}/authorize/{{request_token_id}}")
async def authorize_request_token(ctx: RequestContext, request_token_id: str, body: dict[str, Any]) -> Any:
    asked = convert(body, _Roles)
    return {"token": {"oauth_verifier": await ops.agree(ctx, request_token_id, [(role.id, role.name) for role in asked.roles])}}


@routes.post(f"{ROOT}/access_token", status=201, public=True)
async def create_access_token(ctx: RequestContext, request: falcon.asgi.Request) -> Reply:
    made, secret = await ops.exchange(ctx.cloud, signed(ctx, request))
    return _form(oauth_token=made.id, oauth_token_secret=secret, oauth_expires_at=iso_micro(made.expires_at, suffix="Z"))


TOKENS = "/v3/users/{user_id}/OS-OAUTH1/access_tokens"
TOKEN = TOKENS + "/{access_token_id}"


def _access(ctx: RequestContext, of: AccessToken) -> dict[str, Any]:
    here = f"{base(ctx)}/users/{of.authorizing_user_id}/OS-OAUTH1/access_tokens/{of.id}"
    return {
        "id": of.id, "consumer_id": of.consumer_id, "project_id": of.project_id, "authorizing_user_id": of.authorizing_user_id,
        "expires_at": iso_micro(of.expires_at, suffix="Z"), "links": {"self": here, "roles": f"{here}/roles"},
    }  # fmt: skip


@routes.get(TOKENS)
async def list_access_tokens(ctx: RequestContext, user_id: str) -> Any:
    found = await ops.of_user(ctx, user_id)
    return views.collection(ctx, "access_tokens", [_access(ctx, a) for a in found], f"users/{user_id}/OS-OAUTH1/access_tokens")


@routes.get(TOKEN)
async def show_access_token(ctx: RequestContext, user_id: str, access_token_id: str) -> Any:
    return {"access_token": _access(ctx, await ops.get(ctx, user_id, access_token_id))}


@routes.delete(TOKEN)
async def delete_access_token(ctx: RequestContext, user_id: str, access_token_id: str) -> None:
    await ops.delete(ctx, user_id, access_token_id)


@routes.get(TOKEN + "/roles")
async def list_access_token_roles(ctx: RequestContext, user_id: str, access_token_id: str) -> Any:
    access = await ops.get(ctx, user_id, access_token_id, "identity:list_access_token_roles")
    shown = [views.role(ctx, r) for r in await ops.roles(ctx, access)]
    return views.collection(ctx, "roles", shown, f"users/{user_id}/OS-OAUTH1/access_tokens/{access_token_id}/roles")


@routes.get(TOKEN + "/roles/{role_id}")
async def show_access_token_role(ctx: RequestContext, user_id: str, access_token_id: str, role_id: str) -> Any:
    access = await ops.get(ctx, user_id, access_token_id, "identity:get_access_token_role")
    for role in await ops.roles(ctx, access):
        if role.id == role_id:
            return {"role": views.role(ctx, role)}
    raise NotFound(f"Could not find role: {role_id}.")
