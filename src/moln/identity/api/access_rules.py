"""/v3/users/{user_id}/access_rules"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from moln.identity.api import views
from moln.identity.api.bodies import one
from moln.identity.api.service import base, routes
from moln.identity.model.credentials import KeptRule
from moln.identity.ops import access_rules as ops
from moln.identity.ops.access_rules import AskedRule
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Params
from moln.kernel.http.access import is_plain

PATH = "/v3/users/{user_id}/access_rules"


class NewRule(Struct, forbid_unknown_fields=True):
    """As application credentials take it."""

    id: Annotated[str, Meta(max_length=64)] | None = None
    path: Annotated[str, Meta(min_length=1, max_length=128, pattern="^/")] | None = None
    method: Literal["POST", "GET", "HEAD", "PATCH", "PUT", "DELETE"] | None = None
    service: Annotated[str, Meta(min_length=1, max_length=255)] | None = None


def asked(rule: NewRule) -> AskedRule:
    """Raises: Invalid."""
    if rule.id is not None:
        return AskedRule(id=rule.id)
    for name in ("path", "method", "service"):
        if getattr(rule, name) is None:
            raise Invalid(f"{name!r} is a required property of an access rule", field=name)
    if not is_plain(rule.path or ""):
        raise Invalid("Invalid input for field path: at most one wildcard in a segment, and at most two `**`.", field="path")
    return AskedRule(None, rule.service or "", rule.method or "", rule.path or "")


def plain(of: KeptRule) -> dict[str, Any]:
    return {"id": of.id, "path": of.path, "method": of.method, "service": of.service}


def _view(ctx: RequestContext, of: KeptRule) -> dict[str, Any]:
    return plain(of) | {"links": {"self": f"{base(ctx)}/users/{of.user_id}/access_rules/{of.id}"}}


@routes.get(PATH)
async def list_access_rules(ctx: RequestContext, user_id: str, query: Params) -> Any:
    filters = [(name, "eq", str(one(query, name))) for name in ("service", "path", "method") if name in query]
    found = await ops.of_user(ctx, user_id, filters)
    return views.collection(ctx, "access_rules", [_view(ctx, r) for r in found], f"users/{user_id}/access_rules")


@routes.get(PATH + "/{access_rule_id}")
async def show_access_rule(ctx: RequestContext, user_id: str, access_rule_id: str) -> Any:
    return {"access_rule": _view(ctx, await ops.get(ctx, user_id, access_rule_id))}


@routes.delete(PATH + "/{access_rule_id}")
async def delete_access_rule(ctx: RequestContext, user_id: str, access_rule_id: str) -> None:
    await ops.delete(ctx, user_id, access_rule_id)
