"""/v3/OS-FEDERATION: identity providers, protocols, mappings, service providers."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from moln.identity.api import views
from moln.identity.api.bodies import Name, flag, one, take
from moln.identity.api.service import base, routes
from moln.identity.model.federation import IdentityProvider, Mapping, Protocol, ServiceProvider
from moln.identity.ops import federation as ops
from moln.identity.ops import scopes
from moln.identity.ops.access import require
from moln.identity.store.federation import MAPPING_LISTING, PROVIDER_LISTING, SERVICE_PROVIDER_LISTING
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Params

ROOT = "/v3/OS-FEDERATION"
PROVIDERS, MAPPINGS, SERVICES = f"{ROOT}/identity_providers", f"{ROOT}/mappings", f"{ROOT}/service_providers"
PROTOCOLS = PROVIDERS + "/{idp_id}/protocols"
Text = Annotated[str, Meta(max_length=4096)]
Url = Annotated[str, Meta(max_length=2048, pattern=r"^[a-zA-Z0-9+.-]+:.+")]


class _Provider(Struct):
    enabled: bool | UnsetType = UNSET
    description: Text | None | UnsetType = UNSET
    remote_ids: Annotated[list[Annotated[str, Meta(min_length=1, max_length=255)]], Meta(max_length=1000)] | None | UnsetType = UNSET
    domain_id: str | None | UnsetType = UNSET
    authorization_ttl: Annotated[int, Meta(ge=0)] | None | UnsetType = UNSET


class _Protocol(Struct):
    mapping_id: Name | UnsetType = UNSET
    remote_id_attribute: Annotated[str, Meta(max_length=64)] | None | UnsetType = UNSET


class _NewProtocol(_Protocol, kw_only=True):
    mapping_id: Name


class _Mapping(Struct):
    rules: list[Any] | UnsetType = UNSET
    schema_version: Annotated[str, Meta(max_length=5)] | None | UnsetType = UNSET


class _NewMapping(_Mapping, kw_only=True):
    rules: list[Any]


class _Service(Struct):
    auth_url: Url | UnsetType = UNSET
    sp_url: Url | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    description: Text | None | UnsetType = UNSET
    relay_state_prefix: Text | None | UnsetType = UNSET


class _NewService(_Service, kw_only=True):
    auth_url: Url
    sp_url: Url


def _values(body: dict[str, Any], root: str, shape: type[Struct], defaults: dict[str, Any] | None = None) -> dict[str, Any]:
    """Raises: Invalid, also for what is not known: these objects keep nothing else."""
    values = take(body, root, shape)
    if extra := values.pop("extra", None):
        name = next(iter(extra))
        raise Invalid(f"Additional properties are not allowed ({name[:64]!r} was unexpected)", field=name)
    for name, default in (defaults or {}).items():
        if name in values and values[name] is None:
            values[name] = default
    return values


NONE_IS = {"remote_ids": [], "relay_state_prefix": "ss:mem:", "schema_version": "1.0"}


def _provider(ctx: RequestContext, of: IdentityProvider) -> dict[str, Any]:
    here = f"{base(ctx)}/OS-FEDERATION/identity_providers/{of.id}"
    return {
        "id": of.id, "domain_id": of.domain_id, "enabled": of.enabled, "description": of.description, "remote_ids": of.remote_ids,
        "authorization_ttl": of.authorization_ttl, "links": {"self": here, "protocols": f"{here}/protocols"},
    }  # fmt: skip


@routes.get(PROVIDERS)
async def list_identity_providers(ctx: RequestContext, query: Params) -> Any:
    require(ctx, "identity:list_identity_providers")
    where = views.filters(id=one(query, "id"))
    if "enabled" in query:
        where.append(("enabled", "eq", int(flag(query, "enabled"))))
    return await views.page(ctx, PROVIDER_LISTING, "identity_providers", _provider, query, where, "OS-FEDERATION/identity_providers")


@routes.put(PROVIDERS + "/{idp_id}", status=201)
async def create_identity_provider(ctx: RequestContext, idp_id: str, body: dict[str, Any]) -> Any:
    return {"identity_provider": _provider(ctx, await ops.create_provider(ctx, idp_id, _values(body, "identity_provider", _Provider, NONE_IS)))}


@routes.get(PROVIDERS + "/{idp_id}")
async def show_identity_provider(ctx: RequestContext, idp_id: str) -> Any:
    return {"identity_provider": _provider(ctx, await ops.get_provider(ctx, idp_id))}


@routes.patch(PROVIDERS + "/{idp_id}")
async def update_identity_provider(ctx: RequestContext, idp_id: str, body: dict[str, Any]) -> Any:
    values = _values(body, "identity_provider", _Provider, NONE_IS)
    return {"identity_provider": _provider(ctx, await ops.update_provider(ctx, idp_id, values))}


@routes.delete(PROVIDERS + "/{idp_id}")
async def delete_identity_provider(ctx: RequestContext, idp_id: str) -> None:
    await ops.delete_provider(ctx, idp_id)


def _protocol(ctx: RequestContext, of: Protocol) -> dict[str, Any]:
    idp = f"{base(ctx)}/OS-FEDERATION/identity_providers/{of.idp_id}"
    return {
        "id": of.id, "mapping_id": of.mapping_id, "remote_id_attribute": of.remote_id_attribute,
        "links": {"self": f"{idp}/protocols/{of.id}", "identity_provider": idp},
    }  # fmt: skip


@routes.get(PROTOCOLS)
async def list_protocols(ctx: RequestContext, idp_id: str) -> Any:
    shown = [_protocol(ctx, p) for p in await ops.protocols_of(ctx, idp_id)]
    return views.collection(ctx, "protocols", shown, f"OS-FEDERATION/identity_providers/{idp_id}/protocols")


@routes.put(PROTOCOLS + "/{protocol_id}", status=201)
async def create_protocol(ctx: RequestContext, idp_id: str, protocol_id: str, body: dict[str, Any]) -> Any:
    return {"protocol": _protocol(ctx, await ops.create_protocol(ctx, idp_id, protocol_id, _values(body, "protocol", _NewProtocol)))}


@routes.get(PROTOCOLS + "/{protocol_id}")
async def show_protocol(ctx: RequestContext, idp_id: str, protocol_id: str) -> Any:
    return {"protocol": _protocol(ctx, await ops.get_protocol(ctx, idp_id, protocol_id))}


@routes.patch(PROTOCOLS + "/{protocol_id}")
async def update_protocol(ctx: RequestContext, idp_id: str, protocol_id: str, body: dict[str, Any]) -> Any:
    return {"protocol": _protocol(ctx, await ops.update_protocol(ctx, idp_id, protocol_id, _values(body, "protocol", _Protocol)))}


@routes.delete(PROTOCOLS + "/{protocol_id}")
async def delete_protocol(ctx: RequestContext, idp_id: str, protocol_id: str) -> None:
    await ops.delete_protocol(ctx, idp_id, protocol_id)


def _mapping(ctx: RequestContext, of: Mapping) -> dict[str, Any]:
    links = {"self": f"{base(ctx)}/OS-FEDERATION/mappings/{of.id}"}
    return {"id": of.id, "rules": of.rules, "schema_version": of.schema_version, "links": links}


@routes.get(MAPPINGS)
async def list_mappings(ctx: RequestContext, query: Params) -> Any:
    require(ctx, "identity:list_mappings")
    return await views.page(ctx, MAPPING_LISTING, "mappings", _mapping, query, [], "OS-FEDERATION/mappings")


@routes.put(MAPPINGS + "/{mapping_id}", status=201)
async def create_mapping(ctx: RequestContext, mapping_id: str, body: dict[str, Any]) -> Any:
    return {"mapping": _mapping(ctx, await ops.create_mapping(ctx, mapping_id, _values(body, "mapping", _NewMapping, NONE_IS)))}


@routes.get(MAPPINGS + "/{mapping_id}")
async def show_mapping(ctx: RequestContext, mapping_id: str) -> Any:
    return {"mapping": _mapping(ctx, await ops.get_mapping(ctx, mapping_id))}


@routes.patch(MAPPINGS + "/{mapping_id}")
async def update_mapping(ctx: RequestContext, mapping_id: str, body: dict[str, Any]) -> Any:
    return {"mapping": _mapping(ctx, await ops.update_mapping(ctx, mapping_id, _values(body, "mapping", _Mapping, NONE_IS)))}


@routes.delete(MAPPINGS + "/{mapping_id}")
async def delete_mapping(ctx: RequestContext, mapping_id: str) -> None:
    await ops.delete_mapping(ctx, mapping_id)


def _service(ctx: RequestContext, of: ServiceProvider) -> dict[str, Any]:
    return {
        "id": of.id, "auth_url": of.auth_url, "sp_url": of.sp_url, "enabled": of.enabled, "description": of.description,
        "relay_state_prefix": of.relay_state_prefix, "links": {"self": f"{base(ctx)}/OS-FEDERATION/service_providers/{of.id}"},
    }  # fmt: skip


@routes.get(SERVICES)
async def list_service_providers(ctx: RequestContext, query: Params) -> Any:
    require(ctx, "identity:list_service_providers")
    where = views.filters(id=one(query, "id"))
    if "enabled" in query:
        where.append(("enabled", "eq", int(flag(query, "enabled"))))
    return await views.page(ctx, SERVICE_PROVIDER_LISTING, "service_providers", _service, query, where, "OS-FEDERATION/service_providers")


@routes.put(SERVICES + "/{sp_id}", status=201)
async def create_service_provider(ctx: RequestContext, sp_id: str, body: dict[str, Any]) -> Any:
    values = _values(body, "service_provider", _NewService, NONE_IS)
    return {"service_provider": _service(ctx, await ops.create_service_provider(ctx, sp_id, values))}


@routes.get(SERVICES + "/{sp_id}")
async def show_service_provider(ctx: RequestContext, sp_id: str) -> Any:
    return {"service_provider": _service(ctx, await ops.get_service_provider(ctx, sp_id))}


@routes.patch(SERVICES + "/{sp_id}")
async def update_service_provider(ctx: RequestContext, sp_id: str, body: dict[str, Any]) -> Any:
    values = _values(body, "service_provider", _Service, NONE_IS)
    return {"service_provider": _service(ctx, await ops.update_service_provider(ctx, sp_id, values))}


@routes.delete(SERVICES + "/{sp_id}")
async def delete_service_provider(ctx: RequestContext, sp_id: str) -> None:
    await ops.delete_service_provider(ctx, sp_id)


@routes.get(f"{ROOT}/projects")
async def list_federated_projects(ctx: RequestContext) -> Any:
    """The older name of /v3/auth/projects."""
    require(ctx, "identity:get_auth_projects")
    found = [p for p in await scopes.projects_of(ctx.db, ctx.user_id or "", ctx.who.groups if ctx.who else ()) if p.enabled]
    return views.collection(ctx, "projects", [views.project(ctx, p) for p in found], "OS-FEDERATION/projects")


@routes.get(f"{ROOT}/domains")
async def list_federated_domains(ctx: RequestContext) -> Any:
    """The older name of /v3/auth/domains."""
    require(ctx, "identity:get_auth_domains")
    found = [d for d in await scopes.domains_of(ctx.db, ctx.user_id or "", ctx.who.groups if ctx.who else ()) if d.enabled]
    return views.collection(ctx, "domains", [views.domain(ctx, d) for d in found], "OS-FEDERATION/domains")
