"""/v2.0/flavors, /v2.0/service_profiles and /v2.0/service-providers."""

from __future__ import annotations

from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader
from moln.kernel.errors import Invalid, NotFound
from moln.kernel.http.routes import Params
from moln.network.api import attributes as a
from moln.network.api import views
from moln.network.api.attributes import NAME, Attribute, Schema
from moln.network.api.resources import Resource, publish
from moln.network.api.service import routes
from moln.network.model.flavors import L3, PROVIDERS, Flavor, ServiceProfile
from moln.network.ops import authority
from moln.network.ops import flavors as ops
from moln.network.store.flavors import flavors, profiles

ENABLED = Attribute(name="enabled", field="enabled", post=True, put=True, default=True, parse=a.boolean, filter=a.truths("enabled"), sort=True)
DESCRIPTION = Attribute(
    name="description", field="description", post=True, put=True, default="", parse=a.text_or_none(1024), filter="description", sort=True
)


async def _flavors(db: Reader, ctx: RequestContext, things: list[Flavor]) -> views.Found:
    names = ("id", "name", "description", "service_type", "enabled")
    return [
        ({name: getattr(f, name) for name in names} | {"service_profiles": list(f.service_profiles)}, authority.of_project("", id=f.id))
        for f in things
    ]


async def _profiles(db: Reader, ctx: RequestContext, things: list[ServiceProfile]) -> views.Found:
    names = ("id", "description", "driver", "enabled", "metainfo")
    return [({name: getattr(p, name) for name in names}, authority.of_project("", id=p.id)) for p in things]


FLAVORS = Resource(
    Schema(
        "flavor",
        "flavors",
        [
            NAME,
            DESCRIPTION,
            ENABLED,
            Attribute(
                name="service_type", field="service_type", post=True, required=True, parse=a.one_of(L3, "FLAVORS"), filter="service_type", sort=True
            ),
            Attribute(name="service_profiles", field="service_profiles", post=True, default=(), parse=a.list_of(a.uuid, unique=True)),
        ],
        standard=False,
    ),
    "flavors",
    flavors,
    _flavors,
    create=ops.create_in,
    update=ops.update_in,
    delete=ops.delete_in,
)
PROFILES = Resource(
    Schema(
        "service_profile",
        "service_profiles",
        [
            DESCRIPTION,
            ENABLED,
            Attribute(name="driver", field="driver", post=True, put=True, default="", parse=a.text(1024), filter="driver", sort=True),
            Attribute(name="metainfo", field="metainfo", post=True, put=True, default="", parse=a.text(4096)),
        ],
        standard=False,
    ),
    "service_profiles",
    profiles,
    _profiles,
    create=ops.create_profile_in,
    update=ops.update_profile_in,
    delete=ops.delete_profile_in,
)
publish(routes, FLAVORS)
publish(routes, PROFILES)


@routes.post("/v2.0/flavors/{id}/service_profiles", status=201)
async def join(ctx: RequestContext, id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    await FLAVORS.must_see(ctx, id)
    named = body.get("service_profile")
    if not isinstance(named, dict) or set(named) - {"id", "tenant_id", "project_id"}:
        raise Invalid("Resource body required")
    await ctx.db.write(ops.join_in, ctx, id, a.uuid(named.get("id"), "id"))
    return {"service_profile": (await FLAVORS.show(ctx, id, {}))["flavor"]}


@routes.delete("/v2.0/flavors/{id}/service_profiles/{profile_id}")
async def part(ctx: RequestContext, id: str, profile_id: str) -> None:
    await FLAVORS.must_see(ctx, id)
    await ctx.db.write(ops.part_in, ctx, id, profile_id)


@routes.get("/v2.0/flavors/{id}/next_providers")
async def next_providers(ctx: RequestContext, id: str) -> dict[str, Any]:
    flavor = (await FLAVORS.show(ctx, id, {}))["flavor"]
    for profile in await profiles.some(ctx.db, flavor["service_profiles"][:1]):
        for provider in PROVIDERS:
            if provider.driver == profile.driver:
                return {"next_providers": [{"driver": provider.driver, "provider": provider.name}]}
    raise NotFound(f"Service Profile  is not associated with flavor {id}.", type="FlavorServiceProfileBindingNotFound")


@routes.get("/v2.0/service-providers")
async def providers(ctx: RequestContext, query: Params) -> dict[str, Any]:
    if not ctx.allows("network", "get_service_provider", {}):
        return {"service_providers": []}
    found = [{"service_type": p.service_type, "name": p.name, "default": p.default} for p in PROVIDERS]
    for name in ("service_type", "name"):
        found = [p for p in found if name not in query or p[name] in query[name]]
    return {"service_providers": found}
