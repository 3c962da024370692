"""How attachments are kept."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from moln.kernel.db import Listing, Query, Reader, Transaction, in_list
from moln.kernel.errors import NotFound
from moln.volume.model.attachments import Attachment
from moln.volume.store.tables import attachments

COLUMNS = [attachments.c[f] for f in Attachment.__struct_fields__]
BY_ID = Query(sa.select(*COLUMNS).where(attachments.c.id == sa.bindparam("id")), Attachment)
OF_VOLUME = Query(sa.select(*COLUMNS).where(attachments.c.volume_id == sa.bindparam("volume_id")).order_by(attachments.c.rowid), Attachment)
OF_VOLUMES = Query(sa.select(*COLUMNS).where(in_list(attachments.c.volume_id, "ids")).order_by(attachments.c.rowid), Attachment)
OF_SERVER = Query(sa.select(*COLUMNS).where(attachments.c.server_id == sa.bindparam("server_id")).order_by(attachments.c.rowid), Attachment)
LISTING = Listing(sa.select(*COLUMNS), Attachment, attachments)


async def find(db: Reader, attachment_id: str) -> Attachment | None:
    return await db.one(BY_ID, id=attachment_id)


async def of_volume(db: Reader, volume_id: str) -> list[Attachment]:
    """Oldest first."""
    return await db.all(OF_VOLUME, volume_id=volume_id)


async def of_volumes(db: Reader, volume_ids: list[str]) -> dict[str, list[Attachment]]:
    """By volume; a volume without any has no entry."""
    found: dict[str, list[Attachment]] = {}
    for attachment in await db.all(OF_VOLUMES, ids=volume_ids):
        found.setdefault(attachment.volume_id, []).append(attachment)
    return found


async def of_server(db: Reader, server_id: str) -> list[Attachment]:
    """Oldest first."""
    return await db.all(OF_SERVER, server_id=server_id)


async def add(tx: Transaction, attachment: Attachment) -> None:
    await tx.insert(attachments, attachment)


async def change(tx: Transaction, attachment: Attachment, **changes: Any) -> None:
    """Raises: NotFound, when it went meanwhile."""
    if not await tx.update(attachments, changes, id=attachment.id):
        raise NotFound(f"Volume attachment could not be found with filter: attachment_id = {attachment.id}.")


async def remove(tx: Transaction, attachment: Attachment) -> None:
    """To its history; nothing, when it went already."""
    await tx.delete(attachments, id=attachment.id)
