"""identity_consumers, identity_request_tokens and identity_access_tokens."""

from __future__ import annotations

import sqlalchemy as sa

from moln.identity.model.oauth1 import AccessToken, Consumer, RequestToken
from moln.kernel.db import INT, TEXT, Listing, Query, Reader, Statement, Transaction, column, table

CONSUMERS = table(
    "identity_consumers",
    column("id", TEXT, unique=True),
    column("sealed"),
    column("description", null=True),
    column("extra"),
)
REQUEST_TOKENS = table(
    "identity_request_tokens",
    column("id", TEXT, unique=True),
    column("sealed"),
    column("consumer_id", TEXT, index=True),
    column("requested_project_id"),
    column("expires_at", INT),
    column("verifier", null=True),
    column("authorizing_user_id", null=True),
    column("role_ids"),
)
ACCESS_TOKENS = table(
    "identity_access_tokens",
    column("id", TEXT, unique=True),
    column("sealed"),
    column("consumer_id", TEXT, index=True),
    column("authorizing_user_id", TEXT, index=True),
    column("project_id", TEXT, index=True),
    column("role_ids"),
    column("expires_at", INT),
)


def _all(of: sa.Table) -> sa.Select[tuple[object, ...]]:
    return sa.select(*[c for c in of.columns if c.name != "rowid"])


LISTING = Listing(_all(CONSUMERS), Consumer, CONSUMERS)
ACCESS_LISTING = Listing(_all(ACCESS_TOKENS), AccessToken, ACCESS_TOKENS)
_CONSUMER = Query(_all(CONSUMERS).where(CONSUMERS.c.id == sa.bindparam("id")), Consumer)
_REQUEST = Query(_all(REQUEST_TOKENS).where(REQUEST_TOKENS.c.id == sa.bindparam("id")), RequestToken)
_ACCESS = Query(_all(ACCESS_TOKENS).where(ACCESS_TOKENS.c.id == sa.bindparam("id")), AccessToken)
_PURGE = [Statement(sa.delete(t).where(t.c.expires_at < sa.bindparam("now"))) for t in (REQUEST_TOKENS, ACCESS_TOKENS)]


async def find_consumer(db: Reader, consumer_id: str) -> Consumer | None:
    return await db.one(_CONSUMER, id=consumer_id)


async def find_request(db: Reader, token_id: str) -> RequestToken | None:
    return await db.one(_REQUEST, id=token_id)


async def find_access(db: Reader, token_id: str) -> AccessToken | None:
    return await db.one(_ACCESS, id=token_id)


async def purge(tx: Transaction, now_us: int) -> None:
    """Remove what has expired."""
    for statement in _PURGE:
        await tx.run(statement, now=now_us)


async def forget(tx: Transaction, *, user_id: str | None = None, project_id: str | None = None) -> None:
    """Remove what a user allowed, or what was allowed on a project."""
    if user_id is not None:
        await tx.delete(REQUEST_TOKENS, authorizing_user_id=user_id)
        await tx.delete(ACCESS_TOKENS, authorizing_user_id=user_id)
    if project_id is not None:
        await tx.delete(REQUEST_TOKENS, requested_project_id=project_id)
        await tx.delete(ACCESS_TOKENS, project_id=project_id)
