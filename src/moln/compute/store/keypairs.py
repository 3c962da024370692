"""How key pairs are kept."""

from __future__ import annotations

import sqlalchemy as sa

from moln.compute.model.keypairs import Keypair
from moln.kernel.db import INT, Listing, Query, column, table

keypairs = table(
    "keypairs", column("user_id"), column("name"), column("type"), column("public_key"), column("fingerprint"),
    column("created_at", INT), sa.UniqueConstraint("user_id", "name"),
)  # fmt: skip
GET = Query(
    sa.select(keypairs).where(keypairs.c.user_id == sa.bindparam("user_id"), keypairs.c.name == sa.bindparam("name")), Keypair
)
LIST = Listing(sa.select(keypairs), Keypair, keypairs, id="name")
NAMES = Query(sa.select(keypairs.c.name).where(keypairs.c.user_id == sa.bindparam("user_id")), str)
