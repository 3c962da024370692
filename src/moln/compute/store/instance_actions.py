"""How instance actions are kept."""

from __future__ import annotations

import sqlalchemy as sa

from moln.compute.model.instance_actions import Event, InstanceAction
from moln.compute.model.servers import Server
from moln.compute.store.server_tables import server_actions, servers
from moln.kernel.context import RequestContext
from moln.kernel.db import Listing, Query, Reader, Statement, Transaction

PLUGGING = {"attach_volume", "detach_volume", "attach_interface", "detach_interface"}
COLUMNS = [server_actions.c[f] for f in InstanceAction.__struct_fields__]
BY_REQUEST = Query(
    sa.select(*COLUMNS)
    .where(server_actions.c.server_id == sa.bindparam("server_id"), server_actions.c.request_id == sa.bindparam("request_id"))
    .order_by(server_actions.c.rowid.desc()).limit(1),
    InstanceAction,
)  # fmt: skip
NEVER_TOUCHED = Query(
    sa.select(*COLUMNS).where(
        server_actions.c.server_id == sa.bindparam("server_id"), server_actions.c.updated_at == server_actions.c.start_time,
    ).order_by(server_actions.c.rowid),
    InstanceAction,
)  # fmt: skip
FORGET = Statement(
    sa.delete(server_actions).where(
        server_actions.c.updated_at < sa.bindparam("before"), server_actions.c.server_id.not_in(sa.select(servers.c.id))
    )
)
LISTING = Listing(sa.select(*COLUMNS), InstanceAction, server_actions, id="request_id")


async def begin(tx: Transaction, ctx: RequestContext, server_id: str, action: str, event: str, host: str | None = None, *, owner: Server | None = None) -> None:
    """Record that a caller asked for `action`, and its first event as begun. owner: the server, where the cloud itself asks for its owner."""
    now = ctx.now_us
    row = InstanceAction(
        server_id=server_id, action=action, request_id=ctx.request_id, user_id=owner.user_id if owner else ctx.user_id, project_id=owner.project_id if owner else ctx.project_id, start_time=now,
        updated_at=now, events=(Event(event, now, host=host),),
    )  # fmt: skip
    await tx.insert(server_actions, row, if_absent=True)


async def finish(tx: Transaction, server: Server, action: str, now_us: int, *, error: str | None = None) -> None:
    """The oldest such action that goes on ended: well, or with `error`. Several volumes may be attached at once, in this order."""
    for found in await _going_on(tx, server.id):
        if found.action == action:
            await _end(tx, server, found, now_us, error)
            return


async def finish_beyond(tx: Transaction, server: Server, action: str, now_us: int, *, still: int, error: str) -> None:
    """No more than `still` such actions go on: the older ones ended with `error`, for what they are about is gone."""
    going_on = [a for a in await _going_on(tx, server.id) if a.action == action]
    for found in going_on[: max(len(going_on) - still, 0)]:
        await _end(tx, server, found, now_us, error)


async def overtake(tx: Transaction, server: Server, now_us: int, by: str) -> None:
    """Nothing comes any more of what was going on, but for what is plugged in and pulled out. by: the action that came between."""
    for found in await _going_on(tx, server.id):
        if found.action not in PLUGGING:
            await _end(tx, server, found, now_us, f"It was overtaken by: {by}.")


async def _going_on(tx: Transaction, server_id: str) -> list[InstanceAction]:
    """Oldest first."""
    return [a for a in await tx.all(NEVER_TOUCHED, server_id=server_id) if not all(e.finish_time for e in a.events)]


async def _end(tx: Transaction, server: Server, found: InstanceAction, now_us: int, error: str | None) -> None:
    result = "Error" if error else "Success"
    events = tuple(
        e if e.finish_time else Event(e.event, e.start_time, now_us, result, server.host, error) for e in found.events
    )
    by = {"server_id": server.id, "request_id": found.request_id, "action": found.action}
    await tx.update(server_actions, {"events": events, "updated_at": now_us, "message": "Error" if error else None}, **by)


async def find(db: Reader, server_id: str, request_id: str) -> InstanceAction | None:
    return await db.one(BY_REQUEST, server_id=server_id, request_id=request_id)


async def forget_in(tx: Transaction, before_us: int) -> None:
    """Forget old actions of servers that are gone."""
    await tx.run(FORGET, before=before_us)
