"""How flavors, their extra specs and who may use private ones are kept."""

from __future__ import annotations

import sqlalchemy as sa
from msgspec import Struct

from moln.compute.model.flavors import Flavor
from moln.kernel.db import INT, Listing, Query, Reader, column, in_list, table

flavors = table(
    "flavors", column("id"), column("name"), column("vcpus", INT), column("ram_mib", INT), column("disk_gib", INT),
    column("ephemeral_gib", INT), column("swap_mib", INT), column("is_public", INT), column("description", null=True),
    column("rxtx_factor"), column("created_at", INT), column("updated_at", INT, null=True),
    sa.UniqueConstraint("id"), sa.UniqueConstraint("name"),
)  # fmt: skip
extra_specs = table(
    "flavor_extra_specs", column("flavor_id"), column("key"), column("value"), sa.UniqueConstraint("flavor_id", "key")
)
access = table("flavor_access", column("flavor_id"), column("project_id"), sa.UniqueConstraint("flavor_id", "project_id"))

_id = sa.bindparam("id")
GET = Query(sa.select(flavors).where(flavors.c.id == _id), Flavor)
HAS_ACCESS = Query(
    sa.select(access.c.project_id).where(access.c.flavor_id == _id, access.c.project_id == sa.bindparam("project_id")), str
)
PROJECTS = Query(sa.select(access.c.project_id).where(access.c.flavor_id == _id).order_by(access.c.rowid), str)
SPEC = Query(sa.select(extra_specs.c.value).where(extra_specs.c.flavor_id == _id, extra_specs.c.key == sa.bindparam("key")), str)


class _Spec(Struct, frozen=True):
    flavor_id: str
    key: str
    value: str


SPECS = Query(
    sa.select(extra_specs.c.flavor_id, extra_specs.c.key, extra_specs.c.value)
    .where(in_list(extra_specs.c.flavor_id, "ids")).order_by(extra_specs.c.rowid),
    _Spec,
)  # fmt: skip
LIST = Listing(sa.select(flavors), Flavor, flavors, extra={
    "usable_by": lambda p: sa.or_(flavors.c.is_public == 1, sa.exists().where(
        access.c.flavor_id == flavors.c.id, access.c.project_id == sa.bindparam(p))),
})  # fmt: skip


async def specs(db: Reader, ids: list[str]) -> dict[str, dict[str, str]]:
    """Extra specs by flavor id."""
    found: dict[str, dict[str, str]] = {id: {} for id in ids}
    for spec in await db.all(SPECS, ids=ids):
        found[spec.flavor_id][spec.key] = spec.value
    return found
