"""How server groups are kept, and which servers are in them: a server is in one at most, and leaves it when it goes."""

from __future__ import annotations

import sqlalchemy as sa

from moln.compute.model.server_groups import Companions, Member, ServerGroup
from moln.compute.store.server_tables import servers
from moln.kernel.db import INT, TEXT, Query, Reader, Statement, Transaction, column, in_list, table

server_groups = table(
    "server_groups", column("id", TEXT, unique=True), column("project_id", index=True), column("user_id"), column("name"),
    column("policy"), column("most_per_host", INT, null=True), column("generation", INT),
)  # fmt: skip
server_group_members = table(
    "server_group_members", column("group_id", index=True), column("server_id", TEXT, unique=True),
)  # fmt: skip

COLUMNS = [server_groups.c[f] for f in ServerGroup.__struct_fields__]
BY_ID = Query(sa.select(*COLUMNS).where(server_groups.c.id == sa.bindparam("id")), ServerGroup)
EVERY = Query(
    sa.select(*COLUMNS).order_by(server_groups.c.rowid).limit(sa.bindparam("limit", type_=sa.Integer()))
    .offset(sa.bindparam("offset", type_=sa.Integer())),
    ServerGroup,
)  # fmt: skip
OF_PROJECT = Query(
    sa.select(*COLUMNS).where(server_groups.c.project_id == sa.bindparam("project_id")).order_by(server_groups.c.rowid)
    .limit(sa.bindparam("limit", type_=sa.Integer())).offset(sa.bindparam("offset", type_=sa.Integer())),
    ServerGroup,
)  # fmt: skip
OF_SERVER = Query(
    sa.select(*COLUMNS).join(server_group_members, server_group_members.c.group_id == server_groups.c.id)
    .where(server_group_members.c.server_id == sa.bindparam("server_id")),
    ServerGroup,
)  # fmt: skip


_MEMBERS = (
    sa.select(server_group_members.c.group_id, server_group_members.c.server_id, servers.c.user_id, servers.c.host, servers.c.other_host)
    .join(servers, servers.c.id == server_group_members.c.server_id).order_by(server_group_members.c.rowid)
)  # fmt: skip
MEMBERS = Query(_MEMBERS.where(in_list(server_group_members.c.group_id, "ids")), Member)
GENERATION = Statement(
    sa.update(server_groups).where(server_groups.c.id == sa.bindparam("group")).values(generation=server_groups.c.generation + 1)
)
COUNT = Query(
    sa.select(server_groups.c.project_id, sa.func.count().label("count")).group_by(server_groups.c.project_id), dict
)


async def find(db: Reader, group_id: str) -> ServerGroup | None:
    return await db.one(BY_ID, id=group_id)


async def of_server(db: Reader, server_id: str) -> ServerGroup | None:
    return await db.one(OF_SERVER, server_id=server_id)


async def page(db: Reader, project_id: str | None, *, limit: int, offset: int) -> list[ServerGroup]:
    """In the order they were made. project_id: None for those of all projects."""
    if project_id is None:
        return await db.all(EVERY, limit=limit, offset=offset)
    return await db.all(OF_PROJECT, project_id=project_id, limit=limit, offset=offset)


async def members(db: Reader, group_ids: list[str]) -> dict[str, list[Member]]:
    """The servers of each group, in the order they came."""
    found: dict[str, list[Member]] = {id: [] for id in group_ids}
    for member in await db.all(MEMBERS, ids=group_ids):
        found[member.group_id].append(member)
    return found


async def companions(db: Reader, group: ServerGroup, *, but: str = "") -> Companions:
    """Where a group's servers are; to be apart means from both hosts of one that moves. but: a server that does not count."""
    on: dict[str, int] = {}
    for member in (await members(db, [group.id]))[group.id]:
        if member.server_id == but:
            continue
        for host in {member.host, member.other_host if group.policy.apart else None} - {None}:
            on[host] = on.get(host, 0) + 1
    return Companions(group.policy, group.most_per_host or 1, on)


async def lock(tx: Transaction, group_id: str) -> bool:
    """Whoever boots into the group now waits for us; whether it is still there."""
    return bool(await tx.run(GENERATION, group=group_id))


async def add(tx: Transaction, group: ServerGroup) -> None:
    await tx.insert(server_groups, group)


async def remove(tx: Transaction, group_id: str) -> bool:
    """The group, and who was in it; its servers go on. Whether it was there."""
    await tx.delete(server_group_members, group_id=group_id)
    return bool(await tx.delete(server_groups, id=group_id))


async def join(tx: Transaction, group_id: str, server_id: str) -> None:
    await tx.insert(server_group_members, {"group_id": group_id, "server_id": server_id})
