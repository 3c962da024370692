"""Federation's objects: identity providers and their protocols, mappings, service providers."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from msgspec.structs import replace

from moln.identity.model import mapping as language
from moln.identity.model.federation import IdentityProvider, Mapping, Protocol, ServiceProvider
from moln.identity.model.projects import Project
from moln.identity.ops import domains
from moln.identity.ops.access import missing, require
from moln.identity.ops.rows import change_in, remove_in
from moln.identity.ops.state import people_changed
from moln.identity.store import federation as store
from moln.identity.store import projects as project_store
from moln.identity.store.federation import MAPPINGS, PROTOCOLS, PROVIDERS, REMOTE_IDS, SERVICE_PROVIDERS
from moln.identity.store.holding import hold
from moln.identity.store.projects import PROJECTS
from moln.kernel.context import RequestContext
from moln.kernel.db import Duplicate, Transaction
from moln.kernel.errors import Conflict, Invalid


def _twin(kind: str, id_: str) -> Conflict:
    return Conflict(f"Conflict occurred attempting to store {kind} - Duplicate ID, {id_}.")


async def get_provider(ctx: RequestContext, id_: str, verb: str = "get") -> IdentityProvider:
    """Raises: Forbidden, NotFound."""
    require(ctx, f"identity:{verb}_identity_provider")
    found = await store.find_provider(ctx.db, id_)
    if found is None:
        raise missing("identity provider", id_)
    return found


async def create_provider(ctx: RequestContext, id_: str, values: dict[str, Any]) -> IdentityProvider:
    """Without a domain_id a domain is made for its users. Raises: Forbidden, NotFound, Conflict."""
    require(ctx, "identity:create_identity_provider")
    fresh = None
    if not values.get("domain_id"):
        fresh = Project(ctx.cloud.ids.hex(), f"{ctx.cloud.ids.hex()}", None, None, "Auto generated federated domain", is_domain=True)
        values = values | {"domain_id": fresh.id}
    made = IdentityProvider(id=id_, **values)
    await ctx.db.write(_create_provider_in, made, fresh)
    return made


async def _create_provider_in(tx: Transaction, made: IdentityProvider, fresh: Project | None) -> None:
    if fresh is not None:
        await domains.create_in(tx, fresh)
    elif not await hold(tx, PROJECTS, made.domain_id) or await project_store.find_domain(tx, made.domain_id) is None:
        raise missing("domain", made.domain_id)
    try:
        await tx.insert(PROVIDERS, made)
    except Duplicate:
        raise _twin("identity_provider", made.id) from None
    await _name_in(tx, made)


async def _name_in(tx: Transaction, provider: IdentityProvider) -> None:
    """A remote id is one provider's. Raises: Conflict."""
    await tx.delete(REMOTE_IDS, idp_id=provider.id)
    for remote_id in dict.fromkeys(provider.remote_ids):
        try:
            await tx.insert(REMOTE_IDS, {"remote_id": remote_id, "idp_id": provider.id})
        except Duplicate:
            raise _twin("remote_id", remote_id) from None


async def update_provider(ctx: RequestContext, id_: str, values: dict[str, Any]) -> IdentityProvider:
    """Raises: Forbidden, NotFound, Invalid, Conflict."""
    old = await get_provider(ctx, id_, "update")
    if values.get("domain_id", old.domain_id) != old.domain_id:
        raise Invalid("Update of `domain_id` is not allowed.", field="domain_id")
    new = replace(old, **values)
    await ctx.db.write(_update_provider_in, new, values)
    return new


async def _update_provider_in(tx: Transaction, new: IdentityProvider, values: dict[str, Any]) -> None:
    await change_in(tx, PROVIDERS, "identity provider", values, id=new.id)
    await _name_in(tx, new)
    people_changed(tx)


async def delete_provider(ctx: RequestContext, id_: str) -> None:
    """Its protocols go with it; tokens that it vouched for are void. Raises: Forbidden, NotFound."""
    await get_provider(ctx, id_, "delete")
    await ctx.db.write(_delete_provider_in, id_)


async def _delete_provider_in(tx: Transaction, id_: str) -> None:
    await tx.delete(PROTOCOLS, idp_id=id_)
    await tx.delete(REMOTE_IDS, idp_id=id_)
    await remove_in(tx, PROVIDERS, "identity provider", id=id_)
    people_changed(tx)


async def get_protocol(ctx: RequestContext, idp_id: str, id_: str, verb: str = "get") -> Protocol:
    """Raises: Forbidden, NotFound."""
    require(ctx, f"identity:{verb}_protocol")
    found = await store.find_protocol(ctx.db, idp_id, id_)
    if found is None:
        raise missing("federated protocol", id_)
    return found


async def protocols_of(ctx: RequestContext, idp_id: str) -> list[Protocol]:
    """Raises: Forbidden, NotFound."""
    require(ctx, "identity:list_protocols")
    if await store.find_provider(ctx.db, idp_id) is None:
        raise missing("identity provider", idp_id)
    return await store.PROTOCOL_LISTING.page(ctx.db, [("idp_id", "eq", idp_id)], limit=10_000)


async def create_protocol(ctx: RequestContext, idp_id: str, id_: str, values: dict[str, Any]) -> Protocol:
    """Raises: Forbidden, NotFound, Invalid, Conflict."""
    require(ctx, "identity:create_protocol")
    made = Protocol(id=id_, idp_id=idp_id, **values)
    await ctx.db.write(_create_protocol_in, made)
    return made


async def _check_mapping(tx: Transaction, mapping_id: str) -> None:
    if not await hold(tx, MAPPINGS, mapping_id):
        raise Invalid(f"Invalid mapping id: {mapping_id}", field="mapping_id")


async def _create_protocol_in(tx: Transaction, made: Protocol) -> None:
    if not await hold(tx, PROVIDERS, made.idp_id):
        raise missing("identity provider", made.idp_id)
    await _check_mapping(tx, made.mapping_id)
    try:
        await tx.insert(PROTOCOLS, made)
    except Duplicate:
        raise _twin("federation_protocol", made.id) from None


async def update_protocol(ctx: RequestContext, idp_id: str, id_: str, values: dict[str, Any]) -> Protocol:
    """Raises: Forbidden, NotFound, Invalid."""
    old = await get_protocol(ctx, idp_id, id_, "update")
    await ctx.db.write(_update_protocol_in, idp_id, id_, values)
    return replace(old, **values)


async def _update_protocol_in(tx: Transaction, idp_id: str, id_: str, values: dict[str, Any]) -> None:
    if "mapping_id" in values:
        await _check_mapping(tx, values["mapping_id"])
    await change_in(tx, PROTOCOLS, "federated protocol", values, idp_id=idp_id, id=id_)


async def delete_protocol(ctx: RequestContext, idp_id: str, id_: str) -> None:
    """Raises: Forbidden, NotFound."""
    await get_protocol(ctx, idp_id, id_, "delete")
    await ctx.db.write(_delete_protocol_in, idp_id, id_)


async def _delete_protocol_in(tx: Transaction, idp_id: str, id_: str) -> None:
    await remove_in(tx, PROTOCOLS, "federated protocol", idp_id=idp_id, id=id_)
    people_changed(tx)


def _sound(values: dict[str, Any]) -> dict[str, Any]:
    """Raises: Invalid, when a mapping's rules are not."""
    if "rules" in values:
        try:
            language.rules_of(values["rules"])
        except ValueError as error:
            raise Invalid(f"Invalid input for field rules: {error}", field="rules") from None
    return values


async def get_mapping(ctx: RequestContext, id_: str, verb: str = "get") -> Mapping:
    """Raises: Forbidden, NotFound."""
    require(ctx, f"identity:{verb}_mapping")
    found = await store.find_mapping(ctx.db, id_)
    if found is None:
        raise missing("mapping", id_)
    return found


async def create_mapping(ctx: RequestContext, id_: str, values: dict[str, Any]) -> Mapping:
    """Raises: Forbidden, Invalid, Conflict."""
    require(ctx, "identity:create_mapping")
    made = Mapping(id=id_, **_sound(values))
    await ctx.db.write(_create_in, MAPPINGS, made, "mapping")
    return made


async def _create_in(tx: Transaction, table: sa.Table, made: Mapping | ServiceProvider, kind: str) -> None:
    try:
        await tx.insert(table, made)
    except Duplicate:
        raise _twin(kind, made.id) from None
    if table is SERVICE_PROVIDERS:
        people_changed(tx)


async def update_mapping(ctx: RequestContext, id_: str, values: dict[str, Any]) -> Mapping:
    """Raises: Forbidden, NotFound, Invalid."""
    old = await get_mapping(ctx, id_, "update")
    await ctx.db.write(change_in, MAPPINGS, "mapping", _sound(values), id=id_)
    return replace(old, **values)


async def delete_mapping(ctx: RequestContext, id_: str) -> None:
    """Raises: Forbidden, NotFound."""
    await get_mapping(ctx, id_, "delete")
    await ctx.db.write(remove_in, MAPPINGS, "mapping", id=id_)


async def get_service_provider(ctx: RequestContext, id_: str, verb: str = "get") -> ServiceProvider:
    """Raises: Forbidden, NotFound."""
    require(ctx, f"identity:{verb}_service_provider")
    found = await store.find_service_provider(ctx.db, id_)
    if found is None:
        raise missing("service provider", id_)
    return found


async def create_service_provider(ctx: RequestContext, id_: str, values: dict[str, Any]) -> ServiceProvider:
    """Raises: Forbidden, Conflict."""
    require(ctx, "identity:create_service_provider")
    made = ServiceProvider(id=id_, **values)
    await ctx.db.write(_create_in, SERVICE_PROVIDERS, made, "service_provider")
    return made


async def update_service_provider(ctx: RequestContext, id_: str, values: dict[str, Any]) -> ServiceProvider:
    """Raises: Forbidden, NotFound."""
    old = await get_service_provider(ctx, id_, "update")
    await ctx.db.write(_change_service_provider_in, id_, values)
    return replace(old, **values)


async def _change_service_provider_in(tx: Transaction, id_: str, values: dict[str, Any]) -> None:
    await change_in(tx, SERVICE_PROVIDERS, "service provider", values, id=id_)
    people_changed(tx)  # tokens name those that there are


async def delete_service_provider(ctx: RequestContext, id_: str) -> None:
    """Raises: Forbidden, NotFound."""
    await get_service_provider(ctx, id_, "delete")
    await ctx.db.write(_remove_service_provider_in, id_)


async def _remove_service_provider_in(tx: Transaction, id_: str) -> None:
    await remove_in(tx, SERVICE_PROVIDERS, "service provider", id=id_)
    people_changed(tx)
