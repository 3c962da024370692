"""Which policy goes with which endpoint (identity v3-ext api-ref, "OS-ENDPOINT-POLICY"): kept for services that ask."""

from __future__ import annotations

from msgspec import Struct

from moln.identity.model.catalog import Endpoint
from moln.identity.model.credentials import Policy
from moln.identity.ops.access import missing, require
from moln.identity.store import catalog as catalog_store
from moln.identity.store import credentials as policy_store
from moln.identity.store import endpoint_policies as store
from moln.identity.store.catalog import ENDPOINT_LISTING, ENDPOINTS, REGIONS, SERVICES
from moln.identity.store.credentials import POLICIES
from moln.identity.store.endpoint_policies import ASSOCIATIONS
from moln.identity.store.holding import hold
from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import NotFound


class Place(Struct, frozen=True):
    """What a policy is for: an endpoint, or a service, or a service in a region."""

    endpoint_id: str = ""
    service_id: str = ""
    region_id: str = ""

    @property
    def kind(self) -> str:
        """As the rules call it."""
        if self.endpoint_id:
            return "endpoint"
        return "region_and_service" if self.region_id else "service"


async def _require(ctx: RequestContext, verb: str, policy_id: str, place: Place) -> None:
    """Raises: Forbidden, NotFound, when something named is not there."""
    require(ctx, f"identity:{verb}_policy_association_for_{place.kind}")
    if await policy_store.find_policy(ctx.db, policy_id) is None:
        raise missing("policy", policy_id)
    finders = (("endpoint", catalog_store.find_endpoint), ("service", catalog_store.find_service), ("region", catalog_store.find_region))
    for kind, find in finders:
        id_ = getattr(place, f"{kind}_id")
        if id_ and await find(ctx.db, id_) is None:  # type: ignore[operator]
            raise missing(kind, id_)


async def associate(ctx: RequestContext, policy_id: str, place: Place) -> None:
    """Another policy of the same place goes. Raises: Forbidden, NotFound."""
    await _require(ctx, "create", policy_id, place)
    await ctx.db.write(_associate_in, policy_id, place)


async def _associate_in(tx: Transaction, policy_id: str, place: Place) -> None:
    held = ((POLICIES, "policy", policy_id), (ENDPOINTS, "endpoint", place.endpoint_id), (SERVICES, "service", place.service_id),
            (REGIONS, "region", place.region_id))  # fmt: skip
    for table, kind, id_ in held:
        if id_ and not await hold(tx, table, id_):
            raise missing(kind, id_)
    row = {"endpoint_id": place.endpoint_id, "service_id": place.service_id, "region_id": place.region_id}
    await tx.delete(ASSOCIATIONS, **row)
    await tx.insert(ASSOCIATIONS, row | {"policy_id": policy_id})


async def check(ctx: RequestContext, policy_id: str, place: Place) -> None:
    """Raises: Forbidden, NotFound."""
    await _require(ctx, "check", policy_id, place)
    if await store.policy_of(ctx.db, place.endpoint_id, place.service_id, place.region_id) != policy_id:
        raise NotFound("Could not find policy association.")


async def dissociate(ctx: RequestContext, policy_id: str, place: Place) -> None:
    """Raises: Forbidden, NotFound."""
    await _require(ctx, "delete", policy_id, place)
    await ctx.db.write(_dissociate_in, policy_id, place)


async def _dissociate_in(tx: Transaction, policy_id: str, place: Place) -> None:
    await tx.delete(ASSOCIATIONS, policy_id=policy_id, endpoint_id=place.endpoint_id, service_id=place.service_id, region_id=place.region_id)


async def of_endpoint(ctx: RequestContext, endpoint_id: str) -> Policy:
    """The endpoint's own policy, its service's in its region or one around it, or its service's. Raises: Forbidden, NotFound."""
    require(ctx, "identity:get_policy_for_endpoint")
    endpoint = await catalog_store.find_endpoint(ctx.db, endpoint_id)
    if endpoint is None:
        raise missing("endpoint", endpoint_id)
    policy_id = await _policy_of(ctx.db, endpoint)
    policy = await policy_store.find_policy(ctx.db, policy_id) if policy_id else None
    if policy is None:
        raise NotFound(f"No policy is associated with endpoint {endpoint_id}.")
    return policy


async def _policy_of(db: Reader, endpoint: Endpoint) -> str | None:
    found = await store.policy_of(db, endpoint_id=endpoint.id)
    region, seen = endpoint.region_id, set[str]()
    while found is None and region is not None and region not in seen:
        seen.add(region)
        found = await store.policy_of(db, service_id=endpoint.service_id, region_id=region)
        above = await catalog_store.find_region(db, region)
        region = above.parent_region_id if above else None
    return found or await store.policy_of(db, service_id=endpoint.service_id)


async def endpoints_of(ctx: RequestContext, policy_id: str) -> list[Endpoint]:
    """The endpoints for which a policy is in force. Raises: Forbidden, NotFound."""
    require(ctx, "identity:list_endpoints_for_policy")
    if await policy_store.find_policy(ctx.db, policy_id) is None:
        raise missing("policy", policy_id)
    if not await store.of_policy(ctx.db, policy_id):
        return []
    return [e for e in await ENDPOINT_LISTING.page(ctx.db, limit=10_000) if await _policy_of(ctx.db, e) == policy_id]
