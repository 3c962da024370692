"""How servers are kept: reads of one and of many, and writes that name the generation they read."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct, structs

from moln.compute.model.server_lines import Line, groups_of, volumes_of
from moln.compute.model.server_requests import InjectedFile
from moln.compute.model.servers import Nic, PowerState, Server, TaskState, VmState, addresses_of
from moln.compute.store.server_groups import server_group_members
from moln.compute.store.server_passwords import server_passwords
from moln.compute.store.server_tables import server_files, server_user_data, servers
from moln.kernel.db import Query, Reader, Transaction, history_of, in_list
from moln.kernel.errors import Conflict, NotFound

COLUMNS = [servers.c[f] for f in Server.__struct_fields__]
OLD = history_of(servers)
BY_ID = Query(sa.select(*COLUMNS).where(servers.c.id == sa.bindparam("id")), Server)
LINE = Query(sa.select(*[servers.c[f] for f in Line.__struct_fields__]).where(servers.c.id == sa.bindparam("id")), Line)
BY_IDS = Query(sa.select(*COLUMNS).where(in_list(servers.c.id, "ids")), Server)
DELETED = Query(sa.select(*[OLD.c[f] for f in Server.__struct_fields__]).where(OLD.c.id == sa.bindparam("id")).limit(1), Server)
UNSETTLED = Query(
    sa.select(*COLUMNS).where(servers.c.unsettled == sa.literal_column("1")).order_by(servers.c.rowid).limit(256), Server
)
UNSETTLED_IDS = Query(sa.select(servers.c.id).where(servers.c.unsettled == sa.literal_column("1")).order_by(servers.c.rowid).limit(256), str)
STILL_UNSETTLED = Query(sa.select(*COLUMNS).where(in_list(servers.c.id, "ids"), servers.c.unsettled == sa.literal_column("1")), Server)
ON_HOST = Query(sa.select(*COLUMNS).where(servers.c.host == sa.bindparam("host")), Server)
ALL = Query(sa.select(*COLUMNS).order_by(servers.c.rowid), Server)
NAMED = Query(sa.select(*COLUMNS).where(servers.c.name == sa.bindparam("name")).limit(2), Server)
USER_DATA = Query(sa.select(server_user_data.c.user_data).where(server_user_data.c.server_id == sa.bindparam("id")), str)
USER_DATA_OF = Query(
    sa.select(server_user_data.c.server_id, server_user_data.c.user_data).where(in_list(server_user_data.c.server_id, "ids")), dict
)
FILES = Query(sa.select(server_files.c.files).where(server_files.c.server_id == sa.bindparam("id")), str)
WITH_VOLUME = Query(sa.select(*COLUMNS).where(sa.func.instr(servers.c.volumes, sa.bindparam("volume_id")) > 0), Server)


class Wired(Struct, frozen=True):
    """A server's cards, and whether something is being done to it."""

    id: str
    nics: tuple[Nic, ...]
    unsettled: bool
    task_state: TaskState | None = None


class Powered(Struct, frozen=True):
    """Where a server is, and in which power."""

    id: str
    host: str | None
    vm_state: VmState
    power_state: PowerState
    task_state: TaskState | None = None


WIRED = Query(sa.select(*[servers.c[f] for f in Wired.__struct_fields__]).where(in_list(servers.c.id, "ids")), Wired)
_powered = sa.select(*[servers.c[f] for f in Powered.__struct_fields__])
POWERED, POWERED_ON = Query(_powered.where(in_list(servers.c.id, "ids")), Powered), Query(_powered.where(in_list(servers.c.host, "hosts")), Powered)


async def wired(db: Reader, server_ids: list[str]) -> list[Wired]:
    """Those of the ids that are there."""
    return await db.all(WIRED, ids=server_ids)


async def powered(db: Reader, server_ids: list[str]) -> list[Powered]:
    """The same, as to their power."""
    return await db.all(POWERED, ids=server_ids)


async def powered_on(db: Reader, hosts: list[str]) -> list[Powered]:
    """All servers of these hosts."""
    return await db.all(POWERED_ON, hosts=hosts)


class Counted(Struct, frozen=True):
    """How many servers there are of one kind: in a state, on a host."""

    kind: str
    count: int


def _counting(column: sa.Column[str]) -> Query[Counted]:
    counted = sa.select(column.label("kind"), sa.func.count().label("count"))
    return Query(counted.where(column.is_not(None)).group_by(column), Counted)


BY_STATE, BY_HOST = _counting(servers.c.vm_state), _counting(servers.c.host)


async def by_state(db: Reader) -> dict[str, int]:
    """How many servers are in each state."""
    return {row.kind: row.count for row in await db.all(BY_STATE)}


async def by_host(db: Reader) -> dict[str, int]:
    """How many servers each host has."""
    return {row.kind: row.count for row in await db.all(BY_HOST)}


async def find(db: Reader, server_id: str) -> Server | None:
    return await db.one(BY_ID, id=server_id)


async def find_line(db: Reader, server_id: str) -> Line | None:
    """The server as it is shown."""
    return await db.one(LINE, id=server_id)


async def get(db: Reader, server_id: str) -> Server:
    """Raises: NotFound, in Nova's words."""
    server = await db.one(BY_ID, id=server_id)
    if server is None:
        raise missing(server_id)
    return server


async def find_deleted(db: Reader, server_id: str) -> Server | None:
    """A server of the history."""
    return await db.one(DELETED, id=server_id)


def missing(server_id: str) -> NotFound:
    return NotFound(f"Instance {server_id[:64]} could not be found.")


async def unsettled(db: Reader, now_us: int) -> list[Server]:
    """Servers with something still to be done."""
    return await db.all(UNSETTLED)


async def unsettled_ids(db: Reader, now_us: int) -> list[str]:
    """Their ids alone."""
    return await db.all(UNSETTLED_IDS)


async def still_unsettled(db: Reader, server_ids: list[str]) -> list[Server]:
    """Those of the ids that are."""
    return await db.all(STILL_UNSETTLED, ids=server_ids)


async def some(db: Reader, server_ids: list[str]) -> list[Server]:
    """Those of the ids that are there."""
    return await db.all(BY_IDS, ids=server_ids)


async def on_host(db: Reader, host: str) -> list[Server]:
    return await db.all(ON_HOST, host=host)


async def user_data(db: Reader, server_id: str) -> str | None:
    """In base64, as it came."""
    return await db.one(USER_DATA, id=server_id)


async def user_data_of(db: Reader, server_ids: list[str]) -> dict[str, str]:
    return {r["server_id"]: r["user_data"] for r in await db.all(USER_DATA_OF, ids=server_ids)}


async def set_user_data(tx: Transaction, server_id: str, user_data: str | None) -> None:
    """Give a server other user data, or none."""
    await tx.delete(server_user_data, server_id=server_id)
    if user_data:
        await tx.insert(server_user_data, {"server_id": server_id, "user_data": user_data})
    await tx.update(servers, {"has_user_data": bool(user_data)}, id=server_id)


async def files(db: Reader, server_id: str) -> list[InjectedFile]:
    """What it is to find in its config drive, in the caller's order."""
    text = await db.one(FILES, id=server_id)
    return msgspec.json.decode(text, type=list[InjectedFile]) if text else []


async def set_files(tx: Transaction, server_id: str, files: tuple[InjectedFile, ...]) -> None:
    await tx.delete(server_files, server_id=server_id)
    if files:
        await tx.insert(server_files, {"server_id": server_id, "files": msgspec.json.encode(files).decode()})


async def add(tx: Transaction, server: Server, user_data: str | None = None, files: tuple[InjectedFile, ...] = ()) -> None:
    row = structs.asdict(server)
    row |= {"groups": groups_of(server.nics), "attached": volumes_of(server.volumes), "has_user_data": bool(user_data)}
    await tx.insert(servers, row)
    if user_data:
        await tx.insert(server_user_data, {"server_id": server.id, "user_data": user_data})
    if files:
        await set_files(tx, server.id, files)
    tx.changed("servers", server.id)


async def save(tx: Transaction, before: Server, now_us: int | None = None, **changes: Any) -> Server:
    """Write what changed; what is shown follows `nics` and `volumes`, `unsettled` follows what is pending. now_us: when `updated_at` is to say so.

    Raises: Conflict, when another writer came first; the reconciler then looks again.
    """
    if "nics" in changes:
        changes["addresses"] = addresses_of(changes["nics"])
    shown: dict[str, Any] = {}
    if "nics" in changes:
        shown["groups"] = groups_of(changes["nics"])
    if "volumes" in changes:
        shown["attached"] = volumes_of(changes["volumes"])
    if now_us is not None:
        changes["updated_at"] = now_us
    changes["generation"] = before.generation + 1
    after = structs.replace(before, **changes)
    if after.pending != before.unsettled:
        changes["unsettled"] = after.pending
    if not await tx.update(servers, changes | shown, id=before.id, generation=before.generation):
        raise Conflict(f"Instance {before.id} changed meanwhile; try again.")
    tx.changed("servers", before.id)
    return structs.replace(after, unsettled=after.pending)


async def remove(tx: Transaction, server: Server, now_us: int) -> None:
    """Into the history, as deleted. Raises: Conflict."""
    final = {
        "vm_state": VmState.DELETED, "task_state": None, "terminated_at": now_us, "updated_at": now_us, "unsettled": 0, "power_state": 0,
        "host": server.host, "rescue": None, "generation": server.generation + 1,
    }  # fmt: skip
    if not await tx.update(servers, final, id=server.id, generation=server.generation):
        raise Conflict(f"Instance {server.id} changed meanwhile; try again.")
    for beside in (server_user_data, server_files, server_group_members, server_passwords):
        await tx.delete(beside, server_id=server.id)
    await tx.delete(servers, id=server.id)
    tx.changed("servers", server.id)


IDS = Query(sa.select(servers.c.id), str)


async def ids(db: Reader) -> list[str]:
    return await db.all(IDS)



PAST_IDS = Query(sa.select(OLD.c.id).order_by(OLD.c.rowid.desc()).limit(500), str)


async def past_ids(db: Reader) -> list[str]:
    """Servers that were deleted last, 500 at most."""
    return await db.all(PAST_IDS)
