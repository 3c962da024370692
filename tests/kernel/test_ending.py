"""When certificates end that engines show, is seen at their ports by whoever verifies them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests import databases
from tests.kernel.test_nodes import Late, where
from tests.kernel.test_showing import HERE, engine

from moln.app import Settings as AllSettings
from moln.kernel.cloud import Cloud
from moln.kernel.controllers import ending, proof, tables
from moln.kernel.controllers.membership import Controllers
from moln.kernel.controllers.showing import Engine
from moln.kernel.controllers.tables import Controller
from moln.kernel.http import certificates
from moln.kernel.http.certificates import Authority
from moln.kernel.link import InProcessLinks
from moln.kernel.nodes.membership import Membership
from moln.kernel.policy import Policy

NOW = datetime.now(UTC)


@pytest.mark.parametrize(("left_days", "said"), [(-1, ["has ended"]), (19, ["ends at"]), (21, [])])
@pytest.mark.parametrize("member", [False, True])
async def test_doctor_names_what_ends_soon_and_what_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: bool, left_days: int, said: list[str]
) -> None:
    clock, home = Late(), tmp_path
    db = await databases.opened(home, clock)
    await db.write(lambda tx: tx.insert(tables.controllers, Controller("c1", f"https://{HERE}:5000", "", 0)))
    cloud = Cloud(settings=AllSettings(listen=HERE, tls=True), db=db, policy=Policy.load(), links=InProcessLinks(clock.now_us), home=home, clock=clock)
    looked = ending.Ending(cloud, Controllers(cloud, "c1", Membership(home, db, clock, where), frozenset))
    proof.ensure(home, "c1", NOW)
    authority = Authority(home / proof.FOLDER, NOW)
    if member:  # as OVN's databases show
        file = authority.ensure_member(home / "shown.pem", "controller", "c1", NOW - timedelta(days=certificates.MEMBER_DAYS - left_days))
    else:
        file = authority.ensure_server(home / "shown.pem", frozenset({HERE}), NOW - timedelta(days=certificates.DAYS - left_days), asks=True)
    async with engine(home, file) as port:
        one = (Engine("one", file.name, (port,)),)
        monkeypatch.setattr(ending, "ENGINES", () if member else one)
        monkeypatch.setattr(ending, "OVN", one if member else ())
        found = [violation.message for violation in await looked.invariant.check(cloud)]
    await db.close()
    assert len(found) == len(said) and all(f"of one at c1 {words}" in message for words, message in zip(said, found, strict=True)), found
