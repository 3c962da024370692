"""/v3/OS-REVOKE/events"""

from __future__ import annotations

from typing import Any

from moln.identity.api.bodies import moment, one
from moln.identity.api.service import base, routes
from moln.identity.ops import revocations as ops
from moln.kernel.context import RequestContext
from moln.kernel.http import Params


@routes.get("/v3/OS-REVOKE/events")
async def list_revocation_events(ctx: RequestContext, query: Params) -> Any:
    found = await ops.events(ctx, moment(one(query, "since"), "since") or 0)
    return {"events": found, "links": {"next": None, "self": f"{base(ctx)}/OS-REVOKE/events", "previous": None}}
