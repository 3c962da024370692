"""Remote consoles: who gets an address, and what the token in it opens, once."""

from __future__ import annotations

import hashlib
import secrets
from urllib.parse import quote, urlsplit

from moln.compute.drivers.consoles import VERB
from moln.compute.model.consoles import ConsoleToken, Kind
from moln.compute.model.server_states import refusal
from moln.compute.model.servers import TaskState
from moln.compute.ops.servers import SERVICE, get_for
from moln.compute.store import consoles as store
from moln.compute.store import servers as servers_store
from moln.console.library import ABSENT, installed
from moln.kernel.cloud import Cloud
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict, Invalid, NotFound
from moln.kernel.link import Stream
from moln.kernel.link.frames import pack

TOKEN_BYTES = 32
STREAM = "/console/stream"
OPEN_S = 20.0  # seconds a node may take to open one
NAMES = {Kind.VNC: "novnc", Kind.SERIAL: "serial"}


def digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


async def create(ctx: RequestContext, server_id: str, kind: Kind) -> str:
    """The address of a page that opens the console, once, for `console_token_s` seconds.

    Raises: NotFound, Forbidden, Conflict, Invalid, where this cloud has no pages.
    """
    token = secrets.token_urlsafe(TOKEN_BYTES)
    await ctx.db.write(create_in, ctx, server_id, kind, digest(token))
    base = ctx.settings.public_url
    path = f"{urlsplit(base).path}{STREAM}?token={token}".lstrip("/")
    return f"{base}/console/{kind}?path={quote(path, safe='')}"  # noVNC's own format: others can open the stream by it


async def create_in(tx: Transaction, ctx: RequestContext, server_id: str, kind: Kind, digest: str) -> None:
    server = await get_for(tx, ctx, server_id, "os_compute_api:os-remote-consoles")
    if not installed(ctx.cloud.home):
        raise unavailable(NAMES[kind], ABSENT)
    if server.host is None or server.launched_at is None:
        raise Conflict(f"Instance {server.id} is not ready")
    if server.task_state is TaskState.DELETING:
        raise refusal(server, f"get_{kind}_console", "task_state", str(server.task_state))
    expires_at = ctx.now_us + ctx.settings.compute.console_token_s * 1_000_000
    await store.add(tx, ConsoleToken(digest, server.id, kind, server.host, server.generation, ctx.request_id, expires_at))


def unavailable(type: str, reason: str = "") -> Invalid:
    """Nova's ConsoleTypeUnavailable."""
    return Invalid(f"Unavailable console type {type}. {reason}".strip())


async def show(ctx: RequestContext, token: str) -> ConsoleToken:
    """What an unused token would open. Raises: Forbidden, NotFound."""
    ctx.require(SERVICE, "os_compute_api:os-console-auth-tokens")
    found = await store.find(ctx.db, digest(token), ctx.now_us)
    if found is None:
        raise NotFound("Token not found")
    return found


async def redeem(cloud: Cloud, token: str) -> ConsoleToken:
    """Use a token up. Raises: NotFound, also when its server is gone or has moved."""
    found = await cloud.db.write(store.take, digest(token), cloud.clock.now_us())
    if found is None or not await stands(cloud, found):
        raise NotFound("The token is unknown, too old, or was used before.")
    return found


async def stands(cloud: Cloud, token: ConsoleToken) -> bool:
    """Whether what a token opened is still there for its owner: the server, on that host, not on its way out."""
    server = await servers_store.find(cloud.db, token.server_id)
    return server is not None and server.host == token.host and server.task_state is not TaskState.DELETING


async def connect(cloud: Cloud, token: ConsoleToken) -> Stream:
    """The console's bytes. Raises: BackendRefused (also when the server was begun anew since), BackendUnreachable."""
    return await cloud.links.open_stream(
        token.host, VERB, pack([token.server_id, token.kind]), resource=f"server:{token.server_id}", generation=token.generation,
        deadline_s=OPEN_S,
    )  # fmt: skip
