"""Every other test of identity ends with these invariants unbroken; here they are broken."""

from __future__ import annotations

from typing import Any

from tests.identity.conftest import Keystone, Someone

from moln.identity.ops.invariants import INVARIANTS
from moln.identity.store.catalog import SERVICES
from moln.identity.store.users import USERS


async def test_the_doctor_sees_what_is_broken(keystone: Keystone, alice: Someone) -> None:
    async def harm(tx: Any) -> None:
        await tx.delete(USERS, id=alice.id)
        await tx.update(USERS, {"enabled": 0}, name="admin")
        await tx.update(SERVICES, {"enabled": 0}, type="identity")

    await keystone.cloud.db.write(harm)
    found = [v for invariant in INVARIANTS for v in await invariant.check(keystone.cloud)]
    assert [v.message for v in found] == [
        f"identity_grants.actor_id names {alice.id}, which is not in identity_users",
        "nobody who is enabled has the role admin",
        "the catalogue has no identity service",
    ]
    keystone.expected_violations = found
