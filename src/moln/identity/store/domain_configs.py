"""identity_domain_options: an option a row. value: JSON; of a sensitive option, sealed."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from moln.kernel.db import INT, TEXT, Query, Reader, column, table

OPTIONS = table(
    "identity_domain_options",
    column("domain_id", TEXT, index=True),
    column("group"),
    column("option"),
    column("value"),
    column("sensitive", INT),
    sa.UniqueConstraint("domain_id", "group", "option"),
)
_O = OPTIONS.c
_OF = Query(sa.select(_O.group, _O.option, _O.value, _O.sensitive).where(_O.domain_id == sa.bindparam("id")).order_by(_O.rowid), dict)


async def of_domain(db: Reader, domain_id: str) -> list[dict[str, Any]]:
    return await db.all(_OF, id=domain_id)


_WITH_DIRECTORY = Query(sa.select(_O.domain_id).where(_O.group == "identity", _O.option == "driver", _O.value == '"ldap"').order_by(_O.rowid), str)


async def with_directory(db: Reader) -> list[str]:
    """The domains whose users are in a directory."""
    return await db.all(_WITH_DIRECTORY)
