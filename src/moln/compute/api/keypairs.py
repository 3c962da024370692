"""/os-keypairs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from moln.compute.api.routes import routes
from moln.compute.api.shapes import check_query, more
from moln.compute.model.keypairs import NAME, NAME_BEFORE_92, SSH, Keypair
from moln.compute.ops import keypairs as ops
from moln.kernel.clock import iso
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Body, Params, Reply, bounded_limit, since


class KeypairCreate(Body, root="keypair"):
    name: Annotated[str, Meta(min_length=1, max_length=255)]
    public_key: str | UnsetType = UNSET
    type: Annotated[Literal["ssh", "x509"] | UnsetType, since("2.2")] = UNSET
    user_id: Annotated[str | UnsetType, since("2.10")] = UNSET


def _view(ctx: RequestContext, key: Keypair) -> dict[str, Any]:
    shown = {"name": key.name, "public_key": key.public_key, "fingerprint": key.fingerprint}
    return shown | ({"type": key.type} if ctx.version >= (2, 2) else {})


def _owner(ctx: RequestContext, query: Params) -> str:
    return (query.get("user_id", [""])[0] if ctx.version >= (2, 10) else "") or ctx.user_id or ""


@routes.get("/v2.1/os-keypairs")
async def list_keypairs(ctx: RequestContext, query: Params) -> dict[str, Any]:
    check_query(ctx, query, ("user_id", "limit", "marker"))
    paged = ctx.version >= (2, 35)
    limit = bounded_limit(query.get("limit", [None])[-1]) if paged else None
    marker = query.get("marker", [None])[-1] if paged else None
    found = await ops.search(ctx, _owner(ctx, query), marker=marker, limit=limit)
    body: dict[str, Any] = {"keypairs": [{"keypair": _view(ctx, key)} for key in found]}
    if paged and (following := more(ctx, "os-keypairs", query, [k.name for k in found], limit or 0)):
        body["keypairs_links"] = following
    return body


@routes.post("/v2.1/os-keypairs")
async def create_keypair(ctx: RequestContext, body: KeypairCreate) -> Reply:
    pattern, allowed = (NAME, "'_', '-', '@', '.'") if ctx.version >= (2, 92) else (NAME_BEFORE_92, "'_', '-'")
    if not pattern.match(body.name) or body.name != body.name.strip():
        raise Invalid(f"Invalid input for field/attribute name. Value: {body.name[:64]}. It may have letters, digits, spaces within, "
                      f"{allowed}.", field="name")  # fmt: skip
    if ctx.version >= (2, 92) and body.public_key is UNSET:
        raise Invalid("'public_key' is a required property", field="public_key")
    made, private = await ops.create(
        ctx, body.user_id or ctx.user_id or "", body.name, body.type or SSH, None if body.public_key is UNSET else body.public_key
    )
    shown = _view(ctx, made) | {"user_id": made.user_id}
    if private is not None:
        shown["private_key"] = private
    return Reply({"keypair": shown}, 201 if ctx.version >= (2, 2) else 200)


@routes.get("/v2.1/os-keypairs/{name}")
async def show_keypair(ctx: RequestContext, name: str, query: Params) -> dict[str, Any]:
    check_query(ctx, query, ("user_id",))
    key = await ops.show(ctx, _owner(ctx, query), name)
    return {"keypair": _view(ctx, key) | {
        "user_id": key.user_id, "id": key.rowid, "created_at": iso(key.created_at, suffix=""), "updated_at": None, "deleted": False,
        "deleted_at": None,
    }}  # fmt: skip


@routes.delete("/v2.1/os-keypairs/{name}")
async def delete_keypair(ctx: RequestContext, name: str, query: Params) -> Reply:
    check_query(ctx, query, ("user_id",))
    await ops.remove(ctx, _owner(ctx, query), name)
    return Reply(None, 204 if ctx.version >= (2, 2) else 202)
