"""/v2.0/routers and /v2.0/floatingips."""

from __future__ import annotations

from typing import Any

import falcon.asgi
from msgspec import UNSET

from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.network.api import attributes as a
from moln.network.api import views
from moln.network.api.attributes import ADMIN_STATE, NAME, Attribute, Schema, bad_value
from moln.network.api.networks import TAGS, ZONE_HINTS, always, parse_routes
from moln.network.api.ports import parse_fixed_ips
from moln.network.api.resources import Resource, Write, expected_revision, publish
from moln.network.api.service import routes
from moln.network.model.ports import Port
from moln.network.model.routers import Router
from moln.network.ops import floating_ips as fip_ops
from moln.network.ops import gateways as gateway_ops
from moln.network.ops import routers as router_ops
from moln.network.ops.common import missing
from moln.network.store import rows


def _gateway(value: Any, name: str) -> dict[str, Any]:
    """`external_gateway_info`: null or {} for none."""
    if value is None:
        return {}
    shape = {"network_id": a.optional(a.uuid), "enable_snat": a.boolean, "external_fixed_ips": parse_fixed_ips, "qos_policy_id": a.optional(a.uuid)}
    found = a.object_of(shape)(value, name)
    if found and "network_id" not in found:
        raise bad_value(name, "Validation of dictionary's keys failed. 'network_id' is missing")
    return {} if found.get("network_id") is None else found


def _always(value: Any, name: str) -> bool:
    """`ha`: OVN's gateways always stand by for each other."""
    if not a.boolean(value, name):
        raise bad_value(name, "every router is highly available here")
    return True


ROUTERS = Resource(
    Schema(
        "router",
        "routers",
        [
            NAME,
            ADMIN_STATE,
            TAGS,
            ZONE_HINTS,
            Attribute(name="status", filter=always("ACTIVE")),
            Attribute(name="availability_zones"),
            Attribute(name="external_gateway_info", field="gateway", post=True, put=True, default=None, parse=_gateway),
            Attribute(name="external_gateways"),
            *(
                Attribute(name=name, field=name, post=True, put=True, default=False, parse=a.boolean, filter=a.truths(name), sort=True)
                for name in ("enable_default_route_ecmp", "enable_default_route_bfd")
            ),
            Attribute(name="routes", field="routes", put=True, parse=parse_routes),
            Attribute(name="flavor_id", field="flavor_id", post=True, default=None, parse=a.optional(a.uuid), filter="flavor_id", sort=True),
            Attribute(name="enable_snat", filter=a.truths("enable_snat")),
            Attribute(name="ha", post=True, put=True, default=UNSET, parse=_always),
        ],
    ),
    "routers",
    rows.routers,
    views.routers,
    create=router_ops.create_in,
    update=router_ops.update_in,
    delete=router_ops.delete_in,
)

FLOATING_IPS = Resource(
    Schema(
        "floatingip",
        "floatingips",
        [
            TAGS,
            Attribute(
                name="floating_network_id", field="floating_network_id", post=True, required=True, parse=a.uuid, filter="floating_network_id",
                sort=True,
            ),
            Attribute(
                name="floating_ip_address", field="floating_ip_address", post=True, default=None, parse=a.optional(a.address),
                filter="floating_ip_address", sort=True,
            ),
            Attribute(name="subnet_id", field="subnet_id", post=True, default=None, parse=a.optional(a.uuid)),
            Attribute(name="port_id", field="port_id", post=True, put=True, default=None, parse=a.optional(a.uuid), filter="port_id", sort=True),
            Attribute(
                name="fixed_ip_address", field="fixed_ip_address", post=True, put=True, default=None, parse=a.optional(a.address),
                filter="fixed_ip_address", sort=True,
            ),
            Attribute(
                name="router_id", field="router_id", post=True, put=True, default=None, parse=a.optional(a.uuid), filter="router_id", sort=True
            ),
            Attribute(name="status", field="status", filter="status", sort=True),
            Attribute(name="port_details"),
            Attribute(name="port_forwardings"),
            a.QOS_POLICY,
            Attribute(name="dns_name", field="dns_name", post=True, default="", parse=a.text_or_none()),
            Attribute(name="dns_domain", field="dns_domain", post=True, default="", parse=a.text_or_none()),
        ],
    ),
    "floatingips",
    rows.floating_ips,
    views.floating_ips,
    create=fip_ops.create_in,
    update=fip_ops.update_in,
    delete=fip_ops.delete_in,
)  # fmt: skip

publish(routes, ROUTERS)
publish(routes, FLOATING_IPS)


def _interface(body: dict[str, Any]) -> dict[str, str | None]:
    if unknown := [key for key in body if key not in ("subnet_id", "port_id")]:
        raise Invalid(f"Unrecognized attribute(s) '{', '.join(key[:80] for key in unknown)}'")
    return {key: a.optional(a.uuid)(body.get(key), key) for key in ("subnet_id", "port_id")}


def _answer(found: tuple[Router, Port, list[str]]) -> dict[str, Any]:
    router, port, subnet_ids = found
    return {
        "id": router.id,
        "project_id": port.project_id,
        "tenant_id": port.project_id,
        "port_id": port.id,
        "network_id": port.network_id,
        "subnet_id": subnet_ids[-1],
        "subnet_ids": subnet_ids,
    }


async def _must_see(ctx: RequestContext, id: str) -> None:
    router = await rows.routers.find(ctx.db, id)
    if router is None or not ctx.allows("network", "get_router", {"project_id": router.project_id}):
        raise missing("router", id)


async def _change_interface(ctx: RequestContext, id: str, body: dict[str, Any], request: falcon.asgi.Request, write: Write) -> dict[str, Any]:
    await _must_see(ctx, id)
    wanted = _interface(body)
    return _answer(await ctx.db.write(write, ctx, id, **wanted, revision=expected_revision(request)))


@routes.put("/v2.0/routers/{id}/add_router_interface")
async def add_router_interface(ctx: RequestContext, id: str, body: dict, request: falcon.asgi.Request) -> dict[str, Any]:  # type: ignore[type-arg]
    return await _change_interface(ctx, id, body, request, router_ops.add_interface_in)


@routes.put("/v2.0/routers/{id}/remove_router_interface")
async def remove_router_interface(ctx: RequestContext, id: str, body: dict, request: falcon.asgi.Request) -> dict[str, Any]:  # type: ignore[type-arg]
    return await _change_interface(ctx, id, body, request, router_ops.remove_interface_in)


async def _change_gateways(ctx: RequestContext, id: str, action: str, body: dict[str, Any], request: falcon.asgi.Request) -> dict[str, Any]:
    await _must_see(ctx, id)
    given = body.get("router")
    if not isinstance(given, dict) or set(given) != {"external_gateways"}:
        raise Invalid("Invalid input for router. Reason: only external_gateways is expected", field="external_gateways")
    wanted = list(a.list_of(_gateway)(given["external_gateways"], "external_gateways"))
    if not all(wanted):
        raise bad_value("external_gateways", "Validation of dictionary's keys failed. 'network_id' is missing")
    set_ = a.guarded("external_gateways", wanted)
    await ctx.db.write(gateway_ops.change_in, ctx, id, action, wanted, set_=set_, revision=expected_revision(request))
    return await ROUTERS.show(ctx, id, {})


def _publish_gateways(action: str) -> None:
    async def change(ctx: RequestContext, id: str, body: dict, request: falcon.asgi.Request) -> dict[str, Any]:  # type: ignore[type-arg]
        return await _change_gateways(ctx, id, action, body, request)

    routes.put(f"/v2.0/routers/{{id}}/{action}")(change)


for _action in ("add_external_gateways", "update_external_gateways", "remove_external_gateways"):
    _publish_gateways(_action)


async def _change_routes(ctx: RequestContext, id: str, body: dict[str, Any], what: str, revision: int | None) -> dict[str, Any]:
    await _must_see(ctx, id)
    if not isinstance(body.get("router"), dict) or set(body["router"]) != {"routes"}:
        raise Invalid("Invalid input for router. Reason: only routes is expected")
    found = parse_routes(body["router"]["routes"], "routes")
    router = await ctx.db.write(router_ops.change_routes_in, ctx, id, revision=revision, **{what: found})
    [(view, _)] = await views.routers(ctx.db, ctx, [router])
    return {"router": {name: view[name] for name in ("id", "name", "project_id", "tenant_id", "routes")}}


@routes.put("/v2.0/routers/{id}/add_extraroutes")
async def add_extraroutes(ctx: RequestContext, id: str, body: dict, request: falcon.asgi.Request) -> dict[str, Any]:  # type: ignore[type-arg]
    return await _change_routes(ctx, id, body, "add", expected_revision(request))


@routes.put("/v2.0/routers/{id}/remove_extraroutes")
async def remove_extraroutes(ctx: RequestContext, id: str, body: dict, request: falcon.asgi.Request) -> dict[str, Any]:  # type: ignore[type-arg]
    return await _change_routes(ctx, id, body, "remove", expected_revision(request))
