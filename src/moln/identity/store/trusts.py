"""identity_trusts."""

from __future__ import annotations

import sqlalchemy as sa

from moln.identity.model.trusts import MAX_REDELEGATION, Trust
from moln.kernel.db import INT, TEXT, Listing, Query, Reader, Statement, Transaction, column, table

TRUSTS = table(
    "identity_trusts",
    column("id", TEXT, unique=True),
    column("trustor_user_id", TEXT, index=True),
    column("trustee_user_id", TEXT, index=True),
    column("impersonation", INT),
    column("project_id", TEXT, null=True, index=True),
    column("roles"),
    column("expires_at", INT, null=True),
    column("remaining_uses", INT, null=True),
    column("redelegation_count", INT),
    column("redelegated_trust_id", TEXT, null=True, index=True),
)
_T = TRUSTS.c
_ALL = sa.select(*[c for c in _T if c.name != "rowid"])
LISTING = Listing(_ALL, Trust, TRUSTS)
_GET = Query(_ALL.where(_T.id == sa.bindparam("id")), Trust)
_PASSED_ON = Query(_ALL.where(_T.redelegated_trust_id == sa.bindparam("id")), Trust)
_USE = Statement(
    sa.update(TRUSTS).where(_T.id == sa.bindparam("by_id"), _T.remaining_uses > 0).values(remaining_uses=_T.remaining_uses - 1)
)


async def find(db: Reader, trust_id: str) -> Trust | None:
    return await db.one(_GET, id=trust_id)


async def chain(db: Reader, trust: Trust) -> list[Trust] | None:
    """The trust, that which it was made from, and so on; None, when one of them is gone."""
    found = [trust]
    while found[-1].redelegated_trust_id is not None:
        above = await find(db, found[-1].redelegated_trust_id)
        if above is None or len(found) > MAX_REDELEGATION:
            return None
        found.append(above)
    return found


async def use(tx: Transaction, trust_id: str) -> bool:
    """Take one of the uses; False, when there is none left."""
    return bool(await tx.run(_USE, by_id=trust_id))


async def remove(tx: Transaction, trust_id: str) -> list[Trust]:
    """Remove a trust and all that was passed on of it; what was removed."""
    first = await find(tx, trust_id)
    gone = [first] if first else []
    for trust in gone:
        gone += await tx.all(_PASSED_ON, id=trust.id)
        await tx.delete(TRUSTS, id=trust.id)
    return gone


async def forget(tx: Transaction, column_name: str, id_: str) -> None:
    """Remove the trusts of a user ("trustor_user_id", "trustee_user_id") or project ("project_id") with what was passed on of them."""
    for trust in await LISTING.page(tx, [(column_name, "eq", id_)]):
        await remove(tx, trust.id)
