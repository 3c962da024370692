"""Events: which rows tell of them, and how one is written (Nova, "Notifications": the versioned envelope)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from moln.kernel.clock import iso_micro
from moln.kernel.db import Query, Reader

ROOT = "moln.notifications"


class Event(Struct, frozen=True):
    """One thing that happened. name: of the payload. host: where, if it was at a node. data: what is told; nothing secret."""

    event_type: str
    name: str
    data: dict[str, Any]
    host: str | None = None
    priority: str = "INFO"


class Kind(Struct, frozen=True):
    """The rows of one table. key: columns that tell one row from others, the parameters of `query`, which reads what `tell` has to know.

    tell: from a row before and after a write (None: it was not there, or is gone) to what happened. service: of OpenStack. publisher: the
    part of it that notifications name as their publisher. prefix: of the payload's keys.
    """

    table: sa.Table
    query: Query[Any]
    tell: Callable[[Reader, Any, Any], Awaitable[list[Event]]]
    service: str
    publisher: str
    key: tuple[str, ...] = ("id",)
    prefix: str = "versioned_object"


def subject(kind: Kind, event: Event) -> str:
    return f"{ROOT}.{kind.service}.{event.event_type}"


def envelope(kind: Kind, event: Event, *, message_id: str, controller: str, now_us: int) -> str:
    """In JSON."""
    payload = {"name": event.name, "namespace": "moln", "version": "1.0", "data": event.data}
    return msgspec.json.encode({
        "message_id": message_id, "publisher_id": f"{kind.publisher}:{event.host or controller}", "event_type": event.event_type,
        "priority": event.priority, "timestamp": iso_micro(now_us).replace("T", " "),
        "payload": {f"{kind.prefix}.{key}": value for key, value in payload.items()},
    }).decode()  # fmt: skip


def plain(row: Any, *names: str, **more: Any) -> dict[str, Any]:
    """These fields of a row, as JSON has them, and more."""
    told: dict[str, Any] = msgspec.to_builtins({name: getattr(row, name) for name in names})
    return told | more


def of_rows(shape: type[Any], table: sa.Table) -> Query[Any]:
    """The row of a table by its id."""
    columns = [table.c[field] for field in shape.__struct_fields__]
    return Query(sa.select(*columns).where(table.c.id == sa.bindparam("id")), shape)
