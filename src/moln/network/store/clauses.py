"""Conditions that lists of several resources have."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from moln.kernel.db import in_list
from moln.network.model.sharing import EVERYONE, SHARED
from moln.network.store import tables as t


def tagged(id_column: Any) -> dict[str, Any]:
    """Clauses for tags: one of the named (`tagged`), none of them (`untagged`)."""
    return {
        "tagged": lambda name: id_column.in_(sa.select(t.tags.c.resource_id).where(in_list(t.tags.c.tag, name))),
        "untagged": lambda name: id_column.not_in(sa.select(t.tags.c.resource_id).where(in_list(t.tags.c.tag, name))),
    }


def granted(id_column: Any, name: str, *actions: str) -> Any:
    """Rows that a project was given by RBAC policies, for one of the actions or any."""
    r = t.rbac.c
    where = [sa.or_(r.target_project == sa.literal_column(f"'{EVERYONE}'"), r.target_project == sa.bindparam(name))]
    where += [r.action == sa.literal_column(f"'{action}'") for action in actions]
    return id_column.in_(sa.select(r.object_id).where(*where))


def shareable(table: sa.Table) -> dict[str, Any]:
    """Clauses for what may be shared: what a project sees, and what is shared with it or not."""
    return {
        "seen_by": lambda p: sa.or_(table.c.project_id == sa.bindparam(p), granted(table.c.id, p, SHARED)),
        "shared_to": lambda p: granted(table.c.id, p, SHARED),
        "not_shared_to": lambda p: sa.not_(granted(table.c.id, p, SHARED)),
        **tagged(table.c.id),
    }


def owned(table: sa.Table) -> dict[str, Any]:
    """Clauses for what belongs to one project and is never shared."""
    return {"seen_by": lambda p: table.c.project_id == sa.bindparam(p), **tagged(table.c.id)}
