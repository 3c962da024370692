"""How consoles' tokens are kept: by their digest, until they are used or too old."""

from __future__ import annotations

import sqlalchemy as sa

from moln.compute.model.consoles import ConsoleToken
from moln.kernel.db import INT, TEXT, Query, Reader, Statement, Transaction, column, table

console_tokens = table(
    "console_tokens",
    column("digest", TEXT, unique=True),
    column("server_id", TEXT, index=True),
    column("kind"),
    column("host"),
    column("generation", INT),
    column("request_id"),
    column("expires_at", INT, index=True),
)

VALID = Query(
    sa.select(*[console_tokens.c[f] for f in ConsoleToken.__struct_fields__]).where(
        console_tokens.c.digest == sa.bindparam("digest"), console_tokens.c.expires_at > sa.bindparam("now")
    ),
    ConsoleToken,
)
FORGET = Statement(sa.delete(console_tokens).where(console_tokens.c.expires_at <= sa.bindparam("now")))


async def add(tx: Transaction, token: ConsoleToken) -> None:
    await tx.insert(console_tokens, token)


async def find(db: Reader, digest: str, now_us: int) -> ConsoleToken | None:
    """One that may still be used."""
    return await db.one(VALID, digest=digest, now=now_us)


async def take(tx: Transaction, digest: str, now_us: int) -> ConsoleToken | None:
    """Use it up: of several who try, one gets it."""
    found = await find(tx, digest, now_us)
    return found if found is not None and await tx.delete(console_tokens, digest=digest) else None


async def forget_in(tx: Transaction, now_us: int) -> None:
    """Forget those that are too old."""
    await tx.run(FORGET, now=now_us)
