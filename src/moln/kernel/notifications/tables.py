"""What waits to be published, how much was dropped, and who may read it."""

from __future__ import annotations

import sqlalchemy as sa
from msgspec import Struct

from moln.kernel.db import INT, Query, Statement, column, in_list, table

outbox = table("notification_outbox", column("message_id"), column("subject"), column("body"), sa.UniqueConstraint("message_id"))
drops = table("notification_drops", column("name"), column("count", INT), column("last_at", INT), sa.UniqueConstraint("name"))
consumers = table(
    "notification_consumers", column("name"), column("nats_key"), column("issued_at", INT), column("expires_at", INT),
    column("refused_at", INT, null=True), sa.UniqueConstraint("nats_key"),
)  # fmt: skip


class Waiting(Struct, frozen=True):
    """A notification that is still to be published. body: the envelope, in JSON."""

    message_id: str
    subject: str
    body: str


class Consumer(Struct, frozen=True):
    """Whose key may read. refused_at: since when it may not any more. Times: µs UTC."""

    name: str
    nats_key: str
    issued_at: int
    expires_at: int
    refused_at: int | None = None


PAGE = 256
ANY = Query(sa.select(outbox.c.rowid).limit(1), int)
COUNT = Query(sa.select(sa.func.count()).select_from(outbox), int)
NEXT = Query(sa.select(*[outbox.c[f] for f in Waiting.__struct_fields__]).order_by(outbox.c.rowid).limit(PAGE), Waiting)
DONE = Statement(sa.delete(outbox).where(in_list(outbox.c.message_id, "ids")))
OLDEST = Statement(sa.delete(outbox).where(outbox.c.rowid.in_(sa.select(outbox.c.rowid).order_by(outbox.c.rowid).limit(sa.bindparam("most")))))
DROPPED = Query(sa.select(drops.c.count).where(drops.c.name == "outbox"), int)
DROPPED_AT = Query(sa.select(drops.c.last_at).where(drops.c.name == "outbox"), int)
CONSUMERS = Query(sa.select(*[consumers.c[f] for f in Consumer.__struct_fields__]).order_by(consumers.c.rowid), Consumer)
