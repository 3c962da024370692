"""Which machines are controllers, by name: no two may be called the same, as answers of nodes are addressed to names."""

from __future__ import annotations

import sqlalchemy as sa
from msgspec import Struct

from moln.kernel.db import INT, Query, Statement, column, table

controllers = table(
    "cloud_controllers", column("name"), column("url"), column("key_digest"), column("joined_at", INT), sa.UniqueConstraint("name"),
)  # fmt: skip


class Controller(Struct, frozen=True):
    """url: where its APIs are. key_digest: of the key that it joined with; empty: it began the cloud. joined_at: µs."""

    name: str
    url: str
    key_digest: str
    joined_at: int


MOVE = Statement(
    sa.update(controllers).where(controllers.c.name == sa.bindparam("of"), controllers.c.url != sa.bindparam("to")).values(url=sa.bindparam("to"))
)
CONTROLLERS = Query(sa.select(*(controllers.c[name] for name in Controller.__struct_fields__)).order_by(controllers.c.name), Controller)
