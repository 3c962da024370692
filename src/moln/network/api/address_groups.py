"""/v2.0/address-groups."""

from __future__ import annotations

from typing import Any

import falcon.asgi

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader
from moln.kernel.errors import Invalid
from moln.network.api import attributes as a
from moln.network.api import views
from moln.network.api.attributes import NAME, Attribute, Schema
from moln.network.api.resources import Resource, expected_revision, publish
from moln.network.api.service import routes
from moln.network.model.address_groups import AddressGroup
from moln.network.ops import address_groups as ops
from moln.network.ops import authority
from moln.network.store.address_groups import address_groups


async def _views(db: Reader, ctx: RequestContext, things: list[AddressGroup]) -> views.Found:
    return [
        (
            {
                **views.standard(g),
                "name": g.name,
                "addresses": list(g.addresses),
                "shared": authority.shared_with(ctx, g.shared_with),
            },
            authority.of_shareable(ctx, g),
        )
        for g in things
    ]


NAMED = a.list_of(a.text())  # what is to go is looked for as it is: whatever it is, it is there or not
ADDRESSES = a.list_of(a.loose_cidr, most=10_000)

ADDRESS_GROUPS = Resource(
    Schema(
        "address_group",
        "address_groups",
        [
            NAME,
            Attribute(name="addresses", field="addresses", post=True, default=(), parse=ADDRESSES),
            Attribute(name="shared", filter=a.shared_with_caller()),
        ],
    ),
    "address-groups",
    address_groups,
    _views,
    create=ops.create_in,
    update=ops.update_in,
    delete=ops.delete_in,
)
publish(routes, ADDRESS_GROUPS)


async def _change(ctx: RequestContext, id: str, action: str, body: dict[str, Any], revision: int | None) -> dict[str, Any]:
    await ADDRESS_GROUPS.must_see(ctx, id)
    if set(body) != {"addresses"}:
        raise Invalid("Invalid input for addresses. Reason: only addresses is expected", field="addresses")
    await ctx.db.write(ops.change_addresses_in, ctx, id, action, (ADDRESSES if action == "add_addresses" else NAMED)(body["addresses"], "addresses"), revision)
    return await ADDRESS_GROUPS.show(ctx, id, {})


@routes.put("/v2.0/address-groups/{id}/add_addresses")
async def add_addresses(ctx: RequestContext, id: str, body: dict, request: falcon.asgi.Request) -> dict[str, Any]:  # type: ignore[type-arg]
    return await _change(ctx, id, "add_addresses", body, expected_revision(request))


@routes.put("/v2.0/address-groups/{id}/remove_addresses")
async def remove_addresses(ctx: RequestContext, id: str, body: dict, request: falcon.asgi.Request) -> dict[str, Any]:  # type: ignore[type-arg]
    return await _change(ctx, id, "remove_addresses", body, expected_revision(request))
