"""A new server made: its volumes there, its disks made, its cards wired, its domain running; then ACTIVE."""

from __future__ import annotations

from msgspec import structs

from moln.compute.model.servers import Attached, PowerState, Server, VmState
from moln.compute.store import instance_actions
from moln.compute.store import servers as store
from moln.compute.work.server_ports import wait_for_ports
from moln.compute.work.server_specs import driver_of, spec_of
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.work import Work
from moln.volume.ops import attachments


async def build(work: Work, server: Server) -> None:
    """Raises: Later, BackendRefused, BackendUnreachable."""
    driver = driver_of(work, server)
    spec = await spec_of(work, server, driver)
    await driver.ensure_server(spec, "running")
    server = await wait_for_ports(work, server)
    await work.write(built_in, work.ctx, server)


async def built_in(tx: Transaction, ctx: RequestContext, server: Server) -> None:
    """ACTIVE, its volumes in use."""
    volumes = await attached_in(tx, ctx, server)
    now = ctx.now_us
    server = await store.save(
        tx, server, now, vm_state=VmState.ACTIVE, task_state=None, power_state=PowerState.RUNNING, launched_at=now, deadline=None,
        volumes=volumes, fault=None,
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
