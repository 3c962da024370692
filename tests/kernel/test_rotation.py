"""Another authority where nodes are: a real node's end (renewing.py) in this process, and what a controller asks of it and of its database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests import databases
from tests.kernel.test_nodes import Late, joined, where

from moln.app import Settings as AllSettings
from moln.kernel.cloud import Cloud
from moln.kernel.controllers import database, proof, showing, states, tables
from moln.kernel.controllers.alike import Alike
from moln.kernel.controllers.membership import Controllers
from moln.kernel.controllers.tables import Controller
from moln.kernel.db import Database
from moln.kernel.errors import Failure
from moln.kernel.http import certificates, succession
from moln.kernel.link import InProcessLinks, MemoryFences, Verbs
from moln.kernel.metrics import Spread
from moln.kernel.nodes.joining import Member
from moln.kernel.nodes.membership import Certified, Membership
from moln.kernel.nodes.renewing import Renewing
from moln.kernel.nodes.rotation import Rotation
from moln.kernel.policy import Policy


class Missing(Renewing):
    """The node's end, whose folder takes nothing for a while."""

    away = True

    async def trust(self, ca: str) -> None:
        if self.away:
            raise Failure("The disk is full.")
        await super().trust(ca)


class One:
    """A controller, and a node that joined. ensure: as RemoteNodes has it."""

    def __init__(self, home: Path, cloud: Cloud, clock: Late):
        self.home, self.cloud = home, cloud
        self.nodes = Membership(home, cloud.db, clock, where)
        self.controllers = Controllers(cloud, "c1", self.nodes, frozenset)
        self.rotation = Rotation(cloud, self.controllers, self.nodes, cloud.links, self.ensure)

    def ensure(self) -> None:
        self.nodes.authority.ensure_member(self.home / "tls/controller.pem", "controller", "c1", self.nodes._now())
        proof.ensure(self.home, "c1", self.nodes._now())

    async def join(self, folder: Path) -> tuple[Member, Missing]:
        member = await joined(self.nodes, folder)
        end = Missing(member, "n1", lambda topic, value: True)
        await self.cloud.links.join("n1", Verbs({"node": (Certified, end)}, MemoryFences(), self.cloud.clock.now_us), {})  # type: ignore[attr-defined]
        return member, end


@pytest.fixture
async def one(tmp_path: Path, database: str) -> AsyncIterator[One]:
    home, clock = tmp_path / "one", Late()
    home.mkdir()
    cloud = Cloud(settings=AllSettings(listen="192.0.2.1", tls=True), db=await databases.opened(home, clock), policy=Policy.load(),
                  links=InProcessLinks(clock.now_us), home=home, clock=clock)  # fmt: skip
    made = One(home, cloud, clock)
    await made.controllers.start()
    made.ensure()
    yield made
    await made.rotation.close()
    await cloud.db.close()


def commits(db: Database) -> int:
    [family] = [family for family in db.families() if family.name == "moln_database_commit_duration_seconds"]
    [(_, found)] = family.samples
    assert isinstance(found, Spread)
    return found.count


async def test_a_node_that_was_not_told_at_the_beginning_is_told_before_it_is_given_another_certificate(one: One, tmp_path: Path) -> None:
    member, end = await one.join(tmp_path / "member")
    await one.rotation.begin()
    await one.rotation.start()
    assert one.rotation.step == certificates.NEXT
    old, new = (succession.fingerprint(ca) for ca in succession.trusted((one.home / "tls/ca.crt").read_bytes()))
    assert member.authority() == old and (await one.rotation.standing()).old == ["n1"], "it takes nothing"
    end.away = False
    await one.rotation.go_on()
    assert member.authority() == new and (await one.rotation.standing()).old == []


async def test_what_was_said_already_is_not_written_again(one: One) -> None:
    """Each minute; where one controller is alone with its database it would be for nobody."""
    alike = Alike(one.cloud, one.controllers)
    await one.rotation.start()
    await alike.tell()
    before = commits(one.cloud.db)
    await one.rotation.go_on()
    await alike.tell()
    assert commits(one.cloud.db) == before
    (one.home / "policy").mkdir()
    (one.home / "policy/nova.yaml").write_text("{}")
    await alike.tell()
    assert commits(one.cloud.db) == before + 1


async def test_engines_wait_with_those_of_another_authority_until_all_controllers_trust_it(one: One, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the others' etcd would refuse this one's."""
    monkeypatch.setattr(showing, "LOOKS", 1)
    monkeypatch.setattr(showing, "CALL_S", 0.05)
    now, file = one.nodes._now(), one.home / "controllers/postgresql.pem"
    database.ensure(one.home, "127.0.0.9", now)
    other = Controller("c2", "https://192.0.2.2:5000", "", 0)
    await one.cloud.db.write(lambda tx: tx.insert(tables.controllers, other))

    def signed() -> str:
        _, found = certificates.read(file)
        assert found is not None
        return succession.issuer(found, (one.home / "controllers/ca.crt").read_bytes())

    before, made = signed(), file.read_bytes()
    await one.rotation.begin()
    await one.rotation.start()
    await one.rotation.keep_engines()
    assert one.rotation.step == certificates.COMING and file.read_bytes() == made
    await one.rotation.go_on(alone=True)
    await one.rotation.keep_engines()
    assert one.rotation.step == certificates.NEXT and file.read_bytes() == made, "c2 does not trust it"
    await states.Sayings(one.cloud.db, "c2").say({states.TRUSTS: one.rotation.newest})
    await one.rotation.go_on()
    assert signed() == succession.newest(one.home / "controllers") != before
