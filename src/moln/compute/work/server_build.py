"""A new server made: its volumes there, its disks made, its cards wired, its domain running; then ACTIVE."""

from __future__ import annotations

from msgspec import structs

from moln.compute.model.servers import Attached, PowerState, Server, VmState
from moln.compute.store import instance_actions
from moln.compute.store import servers as store
from moln.compute.work.server_ports import ports_ready
from moln.compute.work.server_specs import driver_of, spec_of
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.work import Later, Work
from moln.volume.ops import attachments

BEGUN_S = 10.0  # for which a server that was begun is not asked for again, while it waits for its ports


async def build(work: Work, server: Server) -> None:
    """Raises: Later, BackendRefused, BackendUnreachable."""
    begun: dict[str, tuple[int, float]] = work.cloud.areas["compute"].begun
    now = work.cloud.clock.monotonic()
    generation, at = begun.pop(server.id, (0, 0.0))
    if generation != server.generation or now - at > BEGUN_S:  # else it runs already, and waits for its ports alone
        driver = driver_of(work, server)
        await driver.ensure_server(await spec_of(work, server, driver), "running")
        at = now
    try:
        server = await ports_ready(work, server)
    except Later:
        for over in [id for id, (_, when) in begun.items() if now - when > BEGUN_S]:  # servers that were deleted, say
            del begun[over]
        begun[server.id] = server.generation, at
        raise
    await work.write(built_in, work.ctx, server)


async def built_in(tx: Transaction, ctx: RequestContext, server: Server) -> None:
    """ACTIVE, its volumes in use."""
    volumes = await attached_in(tx, ctx, server)
    now = ctx.now_us
    server = await store.save(
        tx, server, now, vm_state=VmState.ACTIVE, task_state=None, power_state=PowerState.RUNNING, launched_at=now, deadline=None,
        volumes=volumes, nics=server.nics, fault=None,
    )  # fmt: skip
    await instance_actions.finish(tx, server, "create", now)


async def attached_in(tx: Transaction, ctx: RequestContext, server: Server) -> tuple[Attached, ...]:
    """The server's volumes, those that were attaching now in use."""
    out = []
    for attached in server.volumes:
        if attached.state == "attaching":
            await attachments.attached_in(
                tx, attached.attachment_id, now_us=ctx.now_us, host=server.host, device=attached.device
            )
            if server.launched_at is not None:  # asked for by itself; what came first brought it along
                await instance_actions.finish(tx, server, "attach_volume", ctx.now_us)
            attached = structs.replace(attached, state="attached")
        out.append(attached)
    return tuple(out)
