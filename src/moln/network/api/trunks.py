"""/v2.0/trunks."""

from __future__ import annotations

from typing import Any

import falcon.asgi

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader
from moln.kernel.errors import Invalid
from moln.network.api import attributes as a
from moln.network.api import views
from moln.network.api.attributes import ADMIN_STATE, NAME, Attribute, Schema
from moln.network.api.networks import TAGS, always
from moln.network.api.resources import Resource, expected_revision, publish
from moln.network.api.service import routes
from moln.network.model.trunks import Trunk
from moln.network.ops import authority
from moln.network.ops import trunks as ops
from moln.network.store import rows
from moln.network.store import trunks as store


async def _views(db: Reader, ctx: RequestContext, things: list[Trunk]) -> views.Found:
    tags = await rows.tags_of(db, [t.id for t in things])
    within = views.subports(await store.carried_by(db, [t.id for t in things]))
    return [
        (
            {
                **views.standard(t, tags),
                "name": t.name,
                "admin_state_up": t.admin_state_up,
                "status": "ACTIVE",  # OVN has nothing to prepare for it
                "port_id": t.port_id,
                "sub_ports": within.get(t.id, []),
            },
            authority.of_project(t.project_id, id=t.id),
        )
        for t in things
    ]


_ONE = {"port_id": a.uuid, "segmentation_type": a.one_of("vlan", "inherit"), "segmentation_id": a.whole()}
_MANY = a.list_of(a.object_of(_ONE, required=("port_id",)))


def _subports(value: Any, name: str) -> tuple[dict[str, Any], ...]:
    found = _MANY(value, name)
    ids, tags = [s["port_id"] for s in found], [s["segmentation_id"] for s in found if "segmentation_id" in s]
    if len(set(ids)) < len(ids) or len(set(tags)) < len(tags):
        raise a.bad_value(name, f"duplicate in '{value}'")
    return tuple(found)


TRUNKS = Resource(
    Schema(
        "trunk",
        "trunks",
        [
            NAME,
            ADMIN_STATE,
            TAGS,
            Attribute(name="port_id", field="port_id", post=True, required=True, parse=a.uuid, filter="port_id", sort=True),
            Attribute(name="status", filter=always("ACTIVE")),
            Attribute(name="sub_ports", field="sub_ports", post=True, default=(), parse=_subports),
        ],
    ),
    "trunks",
    store.trunks,
    _views,
    create=ops.create_in,
    update=ops.update_in,
    delete=ops.delete_in,
)
publish(routes, TRUNKS)


async def _change(ctx: RequestContext, id: str, action: str, body: dict[str, Any], revision: int | None) -> dict[str, Any]:
    await TRUNKS.must_see(ctx, id)
    if set(body) != {"sub_ports"}:
        raise Invalid("Invalid input for sub_ports. Reason: only sub_ports is expected", field="sub_ports")
    await ctx.db.write(ops.change_subports_in, ctx, id, action, _subports(body["sub_ports"], "sub_ports"), revision)
    trunk: dict[str, Any] = (await TRUNKS.show(ctx, id, {}))["trunk"]
    return trunk


@routes.put("/v2.0/trunks/{id}/add_subports")
async def add_subports(ctx: RequestContext, id: str, body: dict, request: falcon.asgi.Request) -> dict[str, Any]:  # type: ignore[type-arg]
    return await _change(ctx, id, "add_subports", body, expected_revision(request))


@routes.put("/v2.0/trunks/{id}/remove_subports")
async def remove_subports(ctx: RequestContext, id: str, body: dict, request: falcon.asgi.Request) -> dict[str, Any]:  # type: ignore[type-arg]
    return await _change(ctx, id, "remove_subports", body, expected_revision(request))


@routes.get("/v2.0/trunks/{id}/get_subports")
async def get_subports(ctx: RequestContext, id: str) -> dict[str, Any]:
    target = await TRUNKS.must_see(ctx, id)
    authority.require(ctx, "get_subports", target)
    return {"sub_ports": (await TRUNKS.show(ctx, id, {}))["trunk"]["sub_ports"]}
