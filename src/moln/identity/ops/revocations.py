"""Revocation events: what voids tokens that would still be alive (identity v3-ext api-ref, "OS-REVOKE").

Roles, projects, domains and users that change need none: every token is held against what is there at present.
"""

from __future__ import annotations

from typing import Any

from moln.identity import settings
from moln.identity.ops.access import require
from moln.identity.store import revocations as store
from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext


async def events(ctx: RequestContext, since_us: int) -> list[dict[str, Any]]:
    """Tokens revoked one by one, then users whose earlier tokens are void. Raises: Forbidden."""
    require(ctx, "identity:list_revoke_events")
    longest = settings.of(ctx.cloud).token_expiration_s * 1_000_000
    one_by_one = [
        {"audit_id": r.audit_id, "issued_before": iso_micro(r.revoked_at, suffix="Z"), "revoked_at": iso_micro(r.revoked_at, suffix="Z")}
        for r in await store.since(ctx.db, since_us, ctx.now_us)
    ]
    whole = await store.users_since(ctx.db, max(since_us, ctx.now_us - longest))
    return one_by_one + [{"user_id": user.id, "issued_before": iso_micro(user.tokens_from, suffix="Z")} for user in whole]
