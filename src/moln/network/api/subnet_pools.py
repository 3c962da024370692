"""/v2.0/subnetpools and /v2.0/address-scopes."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader
from moln.kernel.errors import Invalid
from moln.network.api import attributes as a
from moln.network.api import views
from moln.network.api.attributes import NAME, Attribute, Schema
from moln.network.api.networks import TAGS
from moln.network.api.resources import Resource, publish
from moln.network.api.service import routes
from moln.network.model.subnet_pools import AddressScope, SubnetPool
from moln.network.ops import address_scopes as scope_ops
from moln.network.ops import authority
from moln.network.ops import subnet_pools as pool_ops
from moln.network.store import rows


async def _scopes(db: Reader, ctx: RequestContext, things: list[AddressScope]) -> views.Found:
    return [
        (
            {**views.owned(s), "name": s.name, "ip_version": s.ip_version, "shared": authority.shared_with(ctx, s.shared_with)},
            authority.of_shareable(ctx, s),
        )
        for s in things
    ]


async def _pools(db: Reader, ctx: RequestContext, things: list[SubnetPool]) -> views.Found:
    tags = await rows.tags_of(db, [p.id for p in things])
    return [
        (
            {
                **views.standard(p, tags),
                "name": p.name,
                "ip_version": p.ip_version,
                "prefixes": list(p.prefixes),
                "min_prefixlen": str(p.min_prefixlen),
                "default_prefixlen": str(p.default_prefixlen),
                "max_prefixlen": str(p.max_prefixlen),
                "default_quota": p.default_quota,
                "is_default": p.is_default,
                "address_scope_id": p.address_scope_id,
                "shared": authority.shared_with(ctx, p.shared_with),
            },
            authority.of_shareable(ctx, p),
        )
        for p in things
    ]


ADDRESS_SCOPES = Resource(
    Schema(
        "address_scope",
        "address_scopes",
        [
            NAME,
            a.SHARED,
            Attribute(
                name="ip_version",
                field="ip_version",
                post=True,
                required=True,
                parse=a.ip_version,
                filter=a.numbers("ip_version"),
                sort=True,
            ),
        ],
        standard=False,
    ),
    "address-scopes",
    rows.address_scopes,
    _scopes,
    create=scope_ops.create_in,
    update=scope_ops.update_in,
    delete=scope_ops.delete_in,
)


def _name(value: Any, name: str) -> str:
    text: str = a.text()(value, name)
    if not text.strip():
        raise a.bad_value(name, f"'{text}' Blank strings are not permitted")
    return text


def _length(name: str) -> Attribute:
    return Attribute(name=name, field=name, post=True, put=True, default=None, parse=a.whole(0), filter=a.numbers(name), sort=True)



PREFIXES = a.list_of(a.loose_cidr, unique=True)

SUBNET_POOLS = Resource(
    Schema(
        "subnetpool",
        "subnetpools",
        [
            structs.replace(NAME, required=True, parse=_name),
            TAGS,
            structs.replace(a.SHARED, put=False),
            Attribute(name="ip_version", filter=a.numbers("ip_version"), sort=True),
            Attribute(name="prefixes", field="prefixes", post=True, put=True, required=True, parse=PREFIXES),
            *map(_length, ("min_prefixlen", "default_prefixlen", "max_prefixlen", "default_quota")),
            Attribute(
                name="is_default", field="is_default", post=True, put=True, default=False, parse=a.boolean, filter=a.truths("is_default")
            ),
            Attribute(
                name="address_scope_id",
                field="address_scope_id",
                post=True,
                put=True,
                default=None,
                parse=a.optional(a.uuid),
                filter="address_scope_id",
                sort=True,
            ),
        ],
    ),
    "subnetpools",
    rows.subnet_pools,
    _pools,
    create=pool_ops.create_in,
    update=pool_ops.update_in,
    delete=pool_ops.delete_in,
)

publish(routes, ADDRESS_SCOPES)
publish(routes, SUBNET_POOLS)


def _prefixes(body: dict[str, Any]) -> tuple[str, ...]:
    if set(body) != {"prefixes"}:
        raise Invalid("Invalid input for prefixes. Reason: only prefixes is expected", field="prefixes")
    return tuple(PREFIXES(body["prefixes"], "prefixes"))


@routes.put("/v2.0/subnetpools/{id}/add_prefixes")
async def add_prefixes(ctx: RequestContext, id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    await SUBNET_POOLS.must_see(ctx, id)
    pool = await ctx.db.write(pool_ops.change_prefixes_in, ctx, id, "add_prefixes", _prefixes(body))
    return {"prefixes": list(pool.prefixes)}


@routes.put("/v2.0/subnetpools/{id}/remove_prefixes")
async def remove_prefixes(ctx: RequestContext, id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    await SUBNET_POOLS.must_see(ctx, id)
    pool = await ctx.db.write(pool_ops.change_prefixes_in, ctx, id, "remove_prefixes", _prefixes(body))
    return {"prefixes": list(pool.prefixes)}


@routes.put("/v2.0/subnetpools/{id}/onboard_network_subnets")
async def onboard_network_subnets(ctx: RequestContext, id: str, body: dict) -> list[dict[str, Any]]:  # type: ignore[type-arg]
    await SUBNET_POOLS.must_see(ctx, id)
    if "network_id" not in body:
        raise Invalid("Invalid input for operation: network_id must be specified..", type="InvalidInput")
    network_id = a.uuid(body["network_id"], "network_id")
    return [{"id": s.id, "cidr": s.cidr} for s in await ctx.db.write(pool_ops.onboard_in, ctx, id, network_id=network_id)]
