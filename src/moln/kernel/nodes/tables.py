"""How joining is kept: join tokens by their digest, and every certificate that a node was given. Digests and serial numbers in hex."""

from __future__ import annotations

import sqlalchemy as sa
from msgspec import Struct

from moln.kernel.db import INT, Query, Statement, column, table

tokens = table(
    "node_tokens", column("digest"), column("made_at", INT), column("expires_at", INT), column("used_at", INT, null=True),
    column("used_by", null=True), column("used_for", null=True), sa.UniqueConstraint("digest"),
)  # fmt: skip
certificates = table(
    "node_certificates", column("serial"), column("node"), column("key_digest"), column("nats_key"), column("issued_at", INT),
    column("expires_at", INT), column("refused_at", INT, null=True), sa.UniqueConstraint("serial"), sa.Index("ix_node_certificates_node", "node"),
)  # fmt: skip


class Certificate(Struct, frozen=True):
    """What a node was given: its certificate, and the claims of its key on NATS for as long. refused_at: since when it is worth nothing."""

    serial: str
    node: str
    key_digest: str
    nats_key: str
    issued_at: int
    expires_at: int
    refused_at: int | None = None


_columns = [certificates.c[name] for name in Certificate.__struct_fields__]
CERTIFICATES = Query(sa.select(*_columns).order_by(certificates.c.rowid), Certificate)
OF_NODE = Query(sa.select(*_columns).where(certificates.c.node == sa.bindparam("node")).order_by(certificates.c.rowid), Certificate)
# The token must be good, and either fresh or already used by the same node for the same key: an answer that was lost is given again.
USE = Statement(
    sa.update(tokens)
    .where(tokens.c.digest == sa.bindparam("of"), tokens.c.expires_at > sa.bindparam("now"),
           sa.or_(tokens.c.used_at.is_(None),
                  sa.and_(tokens.c.used_by == sa.bindparam("name"), tokens.c.used_for == sa.bindparam("key"))))
    .values(used_at=sa.bindparam("now"), used_by=sa.bindparam("name"), used_for=sa.bindparam("key"))
)  # fmt: skip
REFUSE = Statement(
    sa.update(certificates)
    .where(certificates.c.node == sa.bindparam("name"), certificates.c.refused_at.is_(None))
    .values(refused_at=sa.bindparam("now"))
)
END_TOKENS = Statement(sa.delete(tokens))
FORGET_TOKENS = Statement(sa.delete(tokens).where(tokens.c.expires_at < sa.bindparam("before")))
FORGET_CERTIFICATES = Statement(sa.delete(certificates).where(certificates.c.expires_at < sa.bindparam("before")))
