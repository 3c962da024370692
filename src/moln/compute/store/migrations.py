"""How records of resizes and moves are kept."""

from __future__ import annotations

import sqlalchemy as sa

from moln.compute.model.migrations import ENDED, IN_PROGRESS, Migration, MigrationStatus, MigrationType, Progress
from moln.compute.model.servers import Server
from moln.compute.store.flavors import flavors
from moln.compute.store.server_tables import migrations, servers
from moln.kernel.db import Listing, Query, Reader, Statement, Transaction

_old, _new = flavors.alias("old_flavor"), flavors.alias("new_flavor")
_columns = [migrations.c[f] for f in Migration.__struct_fields__ if f in migrations.c]
_source = sa.select(*_columns, _old.c.rowid.label("old_number"), _new.c.rowid.label("new_number")).select_from(
    migrations.outerjoin(_old, _old.c.id == migrations.c.old_flavor_id).outerjoin(_new, _new.c.id == migrations.c.new_flavor_id)
)
LISTING = Listing(
    _source, Migration, migrations, id="uuid",
    extra={"either_host": lambda name: sa.or_(migrations.c.host == sa.bindparam(name), migrations.c.dest_host == sa.bindparam(name))},
)  # fmt: skip
BY_NUMBER = Query(
    _source.where(migrations.c.server_id == sa.bindparam("server_id"), migrations.c.rowid == sa.bindparam("number")), Migration
)
LIVE_OF = Query(
    _source.where(migrations.c.server_id == sa.bindparam("server_id"), migrations.c.migration_type == sa.bindparam("type"))
    .order_by(migrations.c.rowid), Migration,
)  # fmt: skip
TOUCHING = Query(
    _source.where(
        sa.or_(migrations.c.host == sa.bindparam("host"), migrations.c.dest_host == sa.bindparam("host")),
        *(migrations.c.status != status for status in sorted(ENDED)),
    ).limit(1), Migration,
)  # fmt: skip
_under_way = sa.and_(*(migrations.c.status != status for status in sorted(ENDED)))
FROM_HOST = Query(
    _source.where(migrations.c.host == sa.bindparam("host"), sa.or_(migrations.c.created_at >= sa.bindparam("since"), _under_way))
    .order_by(migrations.c.rowid), Migration,
)  # fmt: skip
OVERDUE = Query(
    sa.select(migrations.c.server_id).where(migrations.c.status == "finished", migrations.c.updated_at < sa.bindparam("before")).limit(256),
    str,
)
FORGET = Statement(
    sa.delete(migrations).where(migrations.c.updated_at < sa.bindparam("before"), migrations.c.server_id.not_in(sa.select(servers.c.id)))
)


async def add(tx: Transaction, *, uuid: str, type: MigrationType, status: MigrationStatus, server: Server, user_id: str | None,
              project_id: str | None, host: str, dest_host: str, new_flavor_id: str = "", now_us: int) -> None:  # fmt: skip
    """user_id, project_id: who asked."""
    row = {
        "uuid": uuid, "server_id": server.id, "user_id": user_id, "project_id": project_id, "migration_type": type, "status": status,
        "host": host, "dest_host": dest_host, "old_flavor_id": server.flavor_id, "new_flavor_id": new_flavor_id or server.flavor_id,
        "created_at": now_us, "updated_at": now_us, "progress": None,
    }  # fmt: skip
    await tx.insert(migrations, row)


async def move(tx: Transaction, uuid: str, status: MigrationStatus, now_us: int) -> None:
    await tx.update(migrations, {"status": status, "updated_at": now_us}, uuid=uuid)


async def advance(tx: Transaction, uuid: str, progress: Progress, now_us: int) -> None:
    """How far a live migration is."""
    await tx.update(migrations, {"progress": progress, "updated_at": now_us}, uuid=uuid)


async def complete(tx: Transaction, uuid: str, now_us: int) -> None:
    """Nothing is left on the host that was evacuated. Nothing, for other records."""
    at = {"uuid": uuid, "migration_type": MigrationType.EVACUATION, "status": MigrationStatus.DONE}
    await tx.update(migrations, {"status": MigrationStatus.COMPLETED, "updated_at": now_us}, **at)


async def find(db: Reader, server_id: str, number: int) -> Migration | None:
    """One of a server's, by its number on the wire."""
    return await db.one(BY_NUMBER, server_id=server_id, number=number)


async def live_of(db: Reader, server_id: str) -> list[Migration]:
    """The live migrations of a server that are under way."""
    return [m for m in await db.all(LIVE_OF, server_id=server_id, type=MigrationType.LIVE) if m.status in IN_PROGRESS]


async def under_way(db: Reader, host: str) -> bool:
    """Whether anything moves from or to a host."""
    return bool(await db.all(TOUCHING, host=host))


async def from_host(db: Reader, host: str, since_us: int) -> list[Migration]:
    """What began to move away from a host since then or has not ended, the oldest first."""
    return await db.all(FROM_HOST, host=host, since=since_us)


async def overdue(db: Reader, before_us: int) -> list[str]:
    """Servers whose resize has waited since before then to be confirmed."""
    return await db.all(OVERDUE, before=before_us)


async def forget_in(tx: Transaction, before_us: int) -> None:
    """Forget old records of servers that are gone."""
    await tx.run(FORGET, before=before_us)
