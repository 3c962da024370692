"""Nodes that wait for a port."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from moln.kernel.db import Query, Reader, Transaction, in_list
from moln.network.model.bindings import Binding
from moln.network.store import tables as t

_bindings = sa.select(t.bindings.c.port_id, t.bindings.c.host, t.bindings.c.vnic_type, t.bindings.c.profile).order_by(t.bindings.c.rowid)
ALL = Query(_bindings, Binding)
OF_PORTS = Query(_bindings.where(in_list(t.bindings.c.port_id, "ids")), Binding)


async def all_waiting(db: Reader) -> list[Binding]:
    return await db.all(ALL)


async def waiting_for(db: Reader, port_ids: Iterable[str]) -> list[Binding]:
    """Nodes that wait for one of these ports."""
    return await db.all(OF_PORTS, ids=sorted(set(port_ids)))


async def add(tx: Transaction, binding: Binding) -> bool:
    """False: the node waits already."""
    row = {name: getattr(binding, name) for name in binding.__struct_fields__}
    return await tx.insert(t.bindings, row, if_absent=True)


async def change(tx: Transaction, binding: Binding, **changes: Any) -> None:
    await tx.update(t.bindings, changes, port_id=binding.port_id, host=binding.host)


async def forget(tx: Transaction, port_id: str, host: str | None = None) -> bool:
    """One node, or all, wait no longer; whether any did."""
    return bool(await tx.delete(t.bindings, port_id=port_id, **({} if host is None else {"host": host})))
