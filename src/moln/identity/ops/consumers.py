"""OAuth 1.0a consumers: programs that may ask users for access."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from moln.identity.model.oauth1 import Consumer
from moln.identity.ops.access import missing, require
from moln.identity.ops.rows import change_in
from moln.identity.ops.state import of, people_changed
from moln.identity.store import oauth1 as store
from moln.identity.store.oauth1 import ACCESS_TOKENS, CONSUMERS, REQUEST_TOKENS
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Invalid


async def get(ctx: RequestContext, consumer_id: str, verb: str = "get") -> Consumer:
    """Raises: Forbidden, NotFound."""
    require(ctx, f"identity:{verb}_consumer")
    found = await store.find_consumer(ctx.db, consumer_id)
    if found is None:
        raise missing("consumer", consumer_id)
    return found


async def create(ctx: RequestContext, values: dict[str, Any]) -> tuple[Consumer, str]:
    """The consumer and its secret, which is told only now. Raises: Forbidden, Invalid."""
    require(ctx, "identity:create_consumer")
    if "secret" in values.get("extra", {}):
        raise Invalid("A consumer's secret is not chosen.", field="secret")
    secret = ctx.cloud.ids.hex()
    made = Consumer(id=ctx.cloud.ids.hex(), sealed=of(ctx.cloud).vault.seal(secret.encode(), ctx.now_us // 1_000_000), **values)
    await ctx.db.write(_create_in, made)
    return made, secret


async def _create_in(tx: Transaction, made: Consumer) -> None:
    await tx.insert(CONSUMERS, made)


async def update(ctx: RequestContext, consumer_id: str, values: dict[str, Any]) -> Consumer:
    """Raises: Forbidden, NotFound, Invalid."""
    old = await get(ctx, consumer_id, "update")
    if "secret" in values.get("extra", {}):
        raise Invalid("A consumer's secret cannot be changed.", field="secret")
    if "extra" in values:
        values = values | {"extra": old.extra | values["extra"]}
    await ctx.db.write(change_in, CONSUMERS, "consumer", values, id=consumer_id)
    return replace(old, **values)


async def delete(ctx: RequestContext, consumer_id: str) -> None:
    """Remove a consumer with all that users let it do. Raises: Forbidden, NotFound."""
    await get(ctx, consumer_id, "delete")
    await ctx.db.write(_delete_in, consumer_id)


async def _delete_in(tx: Transaction, consumer_id: str) -> None:
    for access in await store.ACCESS_LISTING.page(tx, [("consumer_id", "eq", consumer_id)]):
        people_changed(tx, access.authorizing_user_id)
    await tx.delete(REQUEST_TOKENS, consumer_id=consumer_id)
    await tx.delete(ACCESS_TOKENS, consumer_id=consumer_id)
    await tx.delete(CONSUMERS, id=consumer_id)
