"""The metadata of volumes and snapshots as lists are filtered by it: one row per `key=value`."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from moln.kernel.db import Transaction
from moln.volume.model.volumes import labels
from moln.volume.store.tables import volume_labels


def labelled(id_column: Any) -> Any:
    """For Listing's `extra`: the rows that bear a label."""
    found = sa.select(volume_labels.c.owner_id)
    return lambda param: id_column.in_(found.where(volume_labels.c.label == sa.bindparam(param)))


async def relabel(tx: Transaction, owner_id: str, old: dict[str, str], new: dict[str, str]) -> None:
    """Write what the metadata's change changes."""
    before, after = labels(old), labels(new)
    for label in sorted(before - after):
        await tx.delete(volume_labels, owner_id=owner_id, label=label)
    for label in sorted(after - before):
        await tx.insert(volume_labels, {"owner_id": owner_id, "label": label}, if_absent=True)
