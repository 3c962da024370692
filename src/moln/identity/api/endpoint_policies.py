"""/v3/policies/{policy_id}/OS-ENDPOINT-POLICY and /v3/endpoints/{endpoint_id}/OS-ENDPOINT-POLICY/policy"""

from __future__ import annotations

from typing import Any

from moln.identity.api import views
from moln.identity.api.credentials import policy_view
from moln.identity.api.service import routes
from moln.identity.ops import endpoint_policies as ops
from moln.identity.ops.endpoint_policies import Place
from moln.kernel.context import RequestContext

ROOT = "/v3/policies/{policy_id}/OS-ENDPOINT-POLICY"
ENDPOINT = ROOT + "/endpoints/{endpoint_id}"
SERVICE = ROOT + "/services/{service_id}"
REGION = SERVICE + "/regions/{region_id}"


@routes.put(ENDPOINT, status=204)
async def associate_endpoint(ctx: RequestContext, policy_id: str, endpoint_id: str) -> None:
    await ops.associate(ctx, policy_id, Place(endpoint_id))


@routes.get(ENDPOINT, status=204)
async def check_endpoint(ctx: RequestContext, policy_id: str, endpoint_id: str) -> None:
    await ops.check(ctx, policy_id, Place(endpoint_id))


@routes.delete(ENDPOINT)
async def dissociate_endpoint(ctx: RequestContext, policy_id: str, endpoint_id: str) -> None:
    await ops.dissociate(ctx, policy_id, Place(endpoint_id))


@routes.put(SERVICE, status=204)
async def associate_service(ctx: RequestContext, policy_id: str, service_id: str) -> None:
    await ops.associate(ctx, policy_id, Place("", service_id))


@routes.get(SERVICE, status=204)
async def check_service(ctx: RequestContext, policy_id: str, service_id: str) -> None:
    await ops.check(ctx, policy_id, Place("", service_id))


@routes.delete(SERVICE)
async def dissociate_service(ctx: RequestContext, policy_id: str, service_id: str) -> None:
    await ops.dissociate(ctx, policy_id, Place("", service_id))


@routes.put(REGION, status=204)
async def associate_region(ctx: RequestContext, policy_id: str, service_id: str, region_id: str) -> None:
    await ops.associate(ctx, policy_id, Place("", service_id, region_id))


@routes.get(REGION, status=204)
async def check_region(ctx: RequestContext, policy_id: str, service_id: str, region_id: str) -> None:
    await ops.check(ctx, policy_id, Place("", service_id, region_id))


@routes.delete(REGION)
async def dissociate_region(ctx: RequestContext, policy_id: str, service_id: str, region_id: str) -> None:
    await ops.dissociate(ctx, policy_id, Place("", service_id, region_id))


@routes.get(ROOT + "/endpoints")
async def list_policy_endpoints(ctx: RequestContext, policy_id: str) -> Any:
    shown = [views.endpoint(ctx, e) for e in await ops.endpoints_of(ctx, policy_id)]
    return views.collection(ctx, "endpoints", shown, f"policies/{policy_id}/OS-ENDPOINT-POLICY/endpoints")


@routes.get("/v3/endpoints/{endpoint_id}/OS-ENDPOINT-POLICY/policy")
async def show_endpoint_policy(ctx: RequestContext, endpoint_id: str) -> Any:
    return {"policy": policy_view(ctx, await ops.of_endpoint(ctx, endpoint_id))}
