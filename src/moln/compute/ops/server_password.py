"""The password that a guest made for itself, encrypted to its owner's key: told by the guest once, kept until it is cleared."""

from __future__ import annotations

from moln.compute.model.servers import Server
from moln.compute.ops.servers import get_for
from moln.compute.store import server_passwords as store
from moln.kernel.cloud import Cloud
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict, Invalid

P = "os_compute_api:os-server-password"
MOST_BYTES = 1020  # Nova's


async def show(ctx: RequestContext, server_id: str) -> str:
    """"" where the guest told none. Raises: NotFound, Forbidden."""
    server = await get_for(ctx.db, ctx, server_id, f"{P}:show")
    return await store.find(ctx.db, server.id)


async def clear(ctx: RequestContext, server_id: str) -> None:
    """Forget it; the guest may tell another. Raises: NotFound, Forbidden."""
    await ctx.db.write(clear_in, ctx, server_id)


async def clear_in(tx: Transaction, ctx: RequestContext, server_id: str) -> None:
    server = await get_for(tx, ctx, server_id, f"{P}:clear")
    await store.remove(tx, server.id)


async def tell(cloud: Cloud, server: Server, raw: bytes) -> None:
    """The guest tells it. Raises: Conflict, when it did before; Invalid, for what is too long or no text."""
    if len(raw) > MOST_BYTES:
        raise Invalid("Request is too large.")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise Invalid("The password is not UTF-8.") from None
    if "\0" in text:
        raise Invalid("A NUL character is not allowed in a password.")
    if not await cloud.db.write(store.add, server.id, text):
        raise Conflict("The password is set already.")
