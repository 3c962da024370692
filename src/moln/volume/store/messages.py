"""Why something ended in error, for its owner (Cinder's user messages)."""

from __future__ import annotations

import sqlalchemy as sa
from msgspec import Struct

from moln.kernel.db import Listing, Query, Reader, Statement, Transaction
from moln.volume.store.tables import messages

KEPT_US = 30 * 24 * 3600 * 1_000_000


class Message(Struct, frozen=True):
    """resource_type: VOLUME or VOLUME_SNAPSHOT. created_at: µs UTC."""

    id: str
    project_id: str
    resource_type: str
    resource_id: str
    request_id: str
    text: str
    created_at: int


COLUMNS = [messages.c[f] for f in Message.__struct_fields__]
BY_ID = Query(sa.select(*COLUMNS).where(messages.c.id == sa.bindparam("id")), Message)
LISTING = Listing(sa.select(*COLUMNS), Message, messages)
FORGET = Statement(sa.delete(messages).where(messages.c.created_at < sa.bindparam("before")))


async def find(db: Reader, message_id: str) -> Message | None:
    return await db.one(BY_ID, id=message_id)


async def add(tx: Transaction, message: Message) -> None:
    await tx.run(FORGET, before=message.created_at - KEPT_US)
    await tx.insert(messages, message)


async def remove(tx: Transaction, message_id: str) -> bool:
    return bool(await tx.delete(messages, id=message_id))
