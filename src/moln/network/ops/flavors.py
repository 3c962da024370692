"""Flavors and service profiles: what an administrator may do to them; everybody may name a flavor."""

from __future__ import annotations

from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Invalid, NotFound, Unavailable
from moln.network.model.flavors import PROVIDERS, Flavor, ServiceProfile
from moln.network.ops import authority
from moln.network.ops.common import conflict, get
from moln.network.store import rows
from moln.network.store.flavors import flavors, profiles

NOBODYS = authority.of_project("")


async def create_in(tx: Transaction, ctx: RequestContext, *, project_id: str, set_: frozenset[str] = frozenset(), **fields: Any) -> Flavor:
    """Raises: Forbidden, NotFound."""
    authority.require(ctx, "create_flavor", NOBODYS, set_)
    for profile_id in fields.get("service_profiles", ()):
        await get(tx, profiles, "service_profile", profile_id)
    flavor = Flavor(id=ctx.new_id(), created_at=ctx.now_us, updated_at=ctx.now_us, **fields)
    await flavors.add(tx, flavor)
    return flavor


async def update_in(
    tx: Transaction, ctx: RequestContext, id: str, *, set_: frozenset[str], revision: int | None = None, **changes: Any
) -> Flavor:
    """Raises: NotFound, Forbidden."""
    flavor = await get(tx, flavors, "flavor", id)
    authority.require(ctx, "update_flavor", NOBODYS, set_)
    return await flavors.save(tx, flavor, ctx.now_us, **changes)


async def delete_in(tx: Transaction, ctx: RequestContext, id: str, *, revision: int | None = None) -> None:
    """Raises: NotFound, Forbidden, Conflict while a router has it."""
    await get(tx, flavors, "flavor", id)
    authority.require(ctx, "delete_flavor", NOBODYS)
    if await rows.routers.by(tx, "flavor_id", id):
        raise conflict("FlavorInUse", f"Flavor {id} is used by some service instance.")
    await flavors.remove(tx, id)


async def join_in(tx: Transaction, ctx: RequestContext, id: str, profile_id: str) -> Flavor:
    """Give a flavor a profile. Raises: NotFound, Forbidden, Conflict."""
    flavor = await get(tx, flavors, "flavor", id)
    authority.require(ctx, "create_flavor_service_profile", NOBODYS)
    await get(tx, profiles, "service_profile", profile_id)
    if profile_id in flavor.service_profiles:
        raise conflict("FlavorServiceProfileBindingExists", f"Service Profile {profile_id} is already associated with flavor {id}.")
    return await flavors.save(tx, flavor, ctx.now_us, service_profiles=(*flavor.service_profiles, profile_id))


async def part_in(tx: Transaction, ctx: RequestContext, id: str, profile_id: str) -> None:
    """Take a profile from a flavor. Raises: NotFound, Forbidden."""
    flavor = await get(tx, flavors, "flavor", id)
    authority.require(ctx, "delete_flavor_service_profile", NOBODYS)
    left = tuple(p for p in flavor.service_profiles if p != profile_id)
    if left == flavor.service_profiles:
        raise _not_joined(profile_id, id)
    await flavors.save(tx, flavor, ctx.now_us, service_profiles=left)


def _not_joined(profile_id: str, flavor_id: str) -> NotFound:
    message = f"Service Profile {profile_id} is not associated with flavor {flavor_id}."
    return NotFound(message, type="FlavorServiceProfileBindingNotFound")


def _check_driver(driver: str) -> None:
    if driver and all(p.driver != driver for p in PROVIDERS):
        raise NotFound(f"Service Profile driver {driver} could not be found.", type="ServiceProfileDriverNotFound")


async def create_profile_in(
    tx: Transaction, ctx: RequestContext, *, project_id: str, set_: frozenset[str] = frozenset(), **fields: Any
) -> ServiceProfile:
    """Raises: Forbidden, Invalid, NotFound for a driver there is not."""
    authority.require(ctx, "create_service_profile", NOBODYS, set_)
    if not fields.get("driver") and not fields.get("metainfo"):
        raise Invalid("Service Profile needs either a driver or metainfo.", type="ServiceProfileEmpty")
    _check_driver(fields.get("driver", ""))
    profile = ServiceProfile(id=ctx.new_id(), created_at=ctx.now_us, updated_at=ctx.now_us, **fields)
    await profiles.add(tx, profile)
    return profile


async def update_profile_in(
    tx: Transaction, ctx: RequestContext, id: str, *, set_: frozenset[str], revision: int | None = None, **changes: Any
) -> ServiceProfile:
    """Raises: NotFound, Forbidden, Conflict while a flavor has it."""
    profile = await get(tx, profiles, "service_profile", id)
    authority.require(ctx, "update_service_profile", NOBODYS, set_)
    _check_driver(changes.get("driver", ""))
    await _check_free(tx, id)
    return await profiles.save(tx, profile, ctx.now_us, **changes)


async def delete_profile_in(tx: Transaction, ctx: RequestContext, id: str, *, revision: int | None = None) -> None:
    """Raises: NotFound, Forbidden, Conflict while a flavor has it."""
    await get(tx, profiles, "service_profile", id)
    authority.require(ctx, "delete_service_profile", NOBODYS)
    await _check_free(tx, id)
    await profiles.remove(tx, id)


async def _check_free(tx: Transaction, id: str) -> None:
    if any(id in flavor.service_profiles for flavor in await flavors.all(tx)):
        raise conflict("ServiceProfileInUse", f"Service Profile {id} is used by some service instance.")


async def check_usable(db: Reader, flavor_id: str | None, service_type: str) -> None:
    """The flavor that something is to have is there, switched on, and of its kind. Raises: NotFound, Invalid, Unavailable."""
    if flavor_id is None:
        return
    flavor = await get(db, flavors, "flavor", flavor_id)
    if flavor.service_type != service_type:
        raise Invalid(f"Invalid service type {flavor.service_type} for flavor {flavor_id}.", type="InvalidServiceType")
    if not flavor.enabled:
        raise Unavailable("Flavor is not enabled.", type="FlavorDisabled")
    if not flavor.service_profiles:
        raise _not_joined("", flavor_id)
    for profile in await profiles.some(db, flavor.service_profiles[:1]):
        if not profile.enabled:
            raise Unavailable("Service Profile is not enabled.", type="ServiceProfileDisabled")
