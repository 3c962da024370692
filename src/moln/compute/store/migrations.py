"""How records of resizes are kept."""

from __future__ import annotations

import sqlalchemy as sa

from moln.compute.model.migrations import Migration, MigrationStatus
from moln.compute.store.flavors import flavors
from moln.compute.store.server_tables import migrations, servers
from moln.kernel.db import Listing, Query, Reader, Statement, Transaction

_old, _new = flavors.alias("old_flavor"), flavors.alias("new_flavor")
_columns = [migrations.c[f] for f in Migration.__struct_fields__ if f in migrations.c]
_source = sa.select(*_columns, _old.c.rowid.label("old_number"), _new.c.rowid.label("new_number")).select_from(
    migrations.outerjoin(_old, _old.c.id == migrations.c.old_flavor_id).outerjoin(_new, _new.c.id == migrations.c.new_flavor_id)
)
LISTING = Listing(_source, Migration, migrations, id="uuid")
OVERDUE = Query(
    sa.select(migrations.c.server_id).where(migrations.c.status == "finished", migrations.c.updated_at < sa.bindparam("before")).limit(256),
    str,
)
FORGET = Statement(
    sa.delete(migrations).where(migrations.c.updated_at < sa.bindparam("before"), migrations.c.server_id.not_in(sa.select(servers.c.id)))
)


async def add(tx: Transaction, *, uuid: str, server_id: str, user_id: str | None, project_id: str | None, host: str,
              old_flavor_id: str, new_flavor_id: str, now_us: int) -> None:  # fmt: skip
    row = {
        "uuid": uuid, "server_id": server_id, "user_id": user_id, "project_id": project_id, "migration_type": "resize",
        "status": MigrationStatus.PRE_MIGRATING, "host": host, "old_flavor_id": old_flavor_id, "new_flavor_id": new_flavor_id,
        "created_at": now_us, "updated_at": now_us,
    }  # fmt: skip
    await tx.insert(migrations, row)


async def move(tx: Transaction, uuid: str, status: MigrationStatus, now_us: int) -> None:
    await tx.update(migrations, {"status": status, "updated_at": now_us}, uuid=uuid)


async def overdue(db: Reader, before_us: int) -> list[str]:
    """Servers whose resize has waited since before then to be confirmed."""
    return await db.all(OVERDUE, before=before_us)


async def forget_in(tx: Transaction, before_us: int) -> None:
    """Forget old records of servers that are gone."""
    await tx.run(FORGET, before=before_us)
