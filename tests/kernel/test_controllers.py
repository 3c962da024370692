"""Another controller is admitted by a token of its own kind, once, and given what all have; what it keeps is that, and nothing anywhere else."""

from __future__ import annotations

import stat
import tomllib
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import falcon.asgi
import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests import databases
from tests.kernel.test_nodes import Late, Machine, where

from moln.app import Settings as AllSettings
from moln.kernel import notifications
from moln.kernel.cloud import Cloud
from moln.kernel.controllers import database as database_of_its_own
from moln.kernel.controllers import heritage, proof
from moln.kernel.controllers.alike import Alike, digest_of
from moln.kernel.controllers.enrolment import ControllerEnrolmentResource
from moln.kernel.controllers.heritage import Asked, Heritage
from moln.kernel.controllers.membership import Controllers
from moln.kernel.db.postgres_hosts import Hosts
from moln.kernel.errors import Conflict, Failure, Forbidden, Invalid, NotFound
from moln.kernel.http import certificates, succession
from moln.kernel.link import InProcessLinks
from moln.kernel.nodes import joining
from moln.kernel.nodes.enrolment import BURST
from moln.kernel.nodes.membership import Membership
from moln.kernel.nodes.rotation import FOLDERS, Rotation
from moln.kernel.policy import Policy

DATABASE = "postgresql://moln@db/moln"

def asked(token: str, name: str = "c2", key: ec.EllipticCurvePrivateKey | None = None, url: str = "https://192.0.2.2:5000") -> Asked:
    return Asked(token, name, url, joining.request(key or ec.generate_private_key(ec.SECP256R1()), name))


class First:
    """A controller with a home. here: nodes of its own machine."""

    def __init__(self, home: Path, cloud: Cloud, clock: Late):
        self.home, self.cloud, self.clock = home, cloud, clock
        self.here: frozenset[str] = frozenset()
        self.nodes = Membership(home, cloud.db, clock, where)
        self.controllers = Controllers(cloud, "c1", self.nodes, lambda: self.here)
        proof.ensure(home, "c1", self.nodes._now())


@pytest.fixture
async def first(tmp_path: Path, database: str) -> AsyncIterator[First]:
    home, clock = tmp_path / "one", Late()
    (home / "keys").mkdir(parents=True)
    (home / "keys/1.key").write_bytes(b"secret")
    (home / "policy").mkdir()
    (home / "policy/nova.yaml").write_text("{}")
    (home / "policy/.nova.yaml.swp").write_text("half")
    (home / "fence").mkdir()
    (home / "fence/default").write_text("#!/bin/sh\n")
    (home / "fence/default").chmod(0o755)
    (home / "admin.password").write_text("secret\n")
    settings = AllSettings(database_url=DATABASE, listen="192.0.2.1", tls=True, tls_certificate=str(home / "own.pem"))
    cloud = Cloud(settings=settings, db=await databases.opened(home, clock), policy=Policy.load(), links=InProcessLinks(clock.now_us), home=home, clock=clock)
    made = First(home, cloud, clock)
    await made.controllers.start()
    yield made
    await cloud.db.close()


async def test_a_token_makes_one_controller_and_a_lost_answer_is_given_again(first: First) -> None:
    token, key = await first.controllers.make_token(), ec.generate_private_key(ec.SECP256R1())
    given = await first.controllers.enrol(asked(token, key=key))
    assert await first.controllers.enrol(asked(token, key=key)) == given
    for other in (asked(token), asked(token, "c3", key)):
        with pytest.raises(Forbidden, match="was used"):
            await first.controllers.enrol(other)
    assert [(c.name, c.url) for c in await first.controllers.all()] == [("c1", "https://192.0.2.1:5000"), ("c2", "https://192.0.2.2:5000")]


async def test_tokens_of_nodes_and_controllers_are_two_kinds_and_both_end(first: First) -> None:
    nodes, controllers = await first.nodes.make_token(), await first.controllers.make_token(3600)
    with pytest.raises(Forbidden):
        await first.controllers.enrol(asked(nodes))
    with pytest.raises(Forbidden):
        await first.nodes.enrol(Machine("n1").asks(controllers), frozenset())
    first.clock.late_s = 3601
    with pytest.raises(Forbidden, match="too old"):
        await first.controllers.enrol(asked(controllers))
    await first.nodes.enrol(Machine("n1").asks(nodes), frozenset())


async def test_what_cannot_be_is_refused_and_the_token_stays_good(first: First) -> None:
    token = await first.controllers.make_token()
    with pytest.raises(Conflict, match="moln controller remove c1"):
        await first.controllers.enrol(asked(token, "c1"))
    for bad in (asked(token, "no name"), asked(token, url="http://192.0.2.2:5000"), msgspec.structs.replace(asked(token), csr="none")):
        with pytest.raises(Invalid):
            await first.controllers.enrol(bad)
    first.here = frozenset({"c1"})
    with pytest.raises(Conflict, match="--no-guests"):
        await first.controllers.enrol(asked(token))
    first.here = frozenset()
    await first.controllers.enrol(asked(token))


async def test_a_name_that_was_removed_is_free_and_ones_own_is_not_removed(first: First) -> None:
    await first.controllers.enrol(asked(await first.controllers.make_token()))
    with pytest.raises(Conflict, match="controller that you ask"):
        await first.controllers.remove("c1")
    await first.controllers.remove("c2")
    with pytest.raises(NotFound):
        await first.controllers.remove("c2")
    await first.controllers.enrol(asked(await first.controllers.make_token()))


async def test_what_is_given_is_what_controllers_share(first: First, tmp_path: Path) -> None:
    given = await first.controllers.enrol(asked(await first.controllers.make_token()))
    assert given.files.keys() == {"keys/1.key", "policy/nova.yaml", "fence/default", "admin.password", "tls/ca.pem", "nats/operator.pem", "nats/account.pem",
                                  "nats/system.pem", "controllers/ca.pem"}  # fmt: skip
    second = tmp_path / "two"
    second.mkdir()
    for _ in range(2):  # whoever dies there begins anew
        heritage.keep(second, msgspec.json.decode(msgspec.json.encode(given), type=Heritage))
    assert heritage.files(second) == given.files
    modes = {str(f.relative_to(second)): stat.S_IMODE(f.stat().st_mode) for f in second.rglob("*") if f.is_file()}
    assert modes.pop("fence/default") == 0o700 and set(modes.values()) == {0o600}
    authority = certificates.Authority(second / "tls", first.nodes._now())
    assert authority.fingerprint == first.nodes.authority.fingerprint


async def test_a_controller_takes_anew_what_has_changed_and_keeps_its_settings(first: First, tmp_path: Path) -> None:
    second = tmp_path / "two"
    second.mkdir()
    heritage.keep(second, await first.controllers.enrol(asked(await first.controllers.make_token())))
    (second / "moln.toml").write_text("port = 7\n")
    (first.home / "keys/1.key").rename(first.home / "keys/2.key")
    (first.home / "keys/2.key").write_bytes(b"another")
    (first.home / "policy/nova.yaml").unlink()
    again = msgspec.structs.replace(asked(await first.controllers.make_token()), again=True)
    for _ in range(2):
        heritage.keep_again(second, await first.controllers.enrol(again))
    assert heritage.files(second) == heritage.files(first.home) and (second / "moln.toml").read_text() == "port = 7\n"
    assert not (second / "keys/1.key").exists() and not (second / "policy/nova.yaml").exists()
    assert [c.name for c in await first.controllers.all()] == ["c1", "c2"]
    with pytest.raises(NotFound, match="No controller c3"):
        await first.controllers.enrol(msgspec.structs.replace(asked(await first.controllers.make_token(), "c3"), again=True))
    with pytest.raises(Forbidden):
        await first.controllers.enrol(msgspec.structs.replace(asked("x.y"), again=True))


async def test_doctor_says_whose_policies_and_programs_are_others(first: First, tmp_path: Path) -> None:
    home = tmp_path / "two"
    home.mkdir()
    heritage.keep(home, await first.controllers.enrol(asked(await first.controllers.make_token())))
    there = Cloud(settings=first.cloud.settings, db=first.cloud.db, policy=Policy.load(), links=first.cloud.links, home=home, clock=first.clock)
    one, two = Alike(first.cloud, first.controllers), Alike(there, Controllers(there, "c2", first.nodes, frozenset))
    await two.tell()
    assert await one.invariant.check(first.cloud) == []

    (home / "policy/nova.yaml").write_text('"a": "!"')
    (home / "fence/default").chmod(0o600)  # no program any more
    await two.tell()
    policy, fence = await one.invariant.check(first.cloud)
    for name, found in (("policy", policy), ("fence", fence)):
        assert f"{name}/ is not the same" in found.message and "--again" in found.mend
        assert f"c1 {digest_of(first.home / name)[:12]}, c2 {digest_of(home / name)[:12]}" in found.message

    (home / "policy/nova.yaml").unlink()
    assert digest_of(home / "policy") == digest_of(home / "nowhere") == "none"  # an editor's file is none
    await first.controllers.remove("c2")
    assert await one.invariant.check(first.cloud) == []


async def test_doctor_says_who_tells_nobody(first: First, tmp_path: Path) -> None:
    home = tmp_path / "two"
    home.mkdir()
    heritage.keep(home, await first.controllers.enrol(asked(await first.controllers.make_token())))
    there = Cloud(settings=first.cloud.settings, db=first.cloud.db, policy=Policy.load(), links=first.cloud.links, home=home, clock=first.clock)
    one, two = Alike(first.cloud, first.controllers), Alike(there, Controllers(there, "c2", first.nodes, frozenset))
    await two.tell()
    assert await one.tells.check(first.cloud) == []
    (first.home / notifications.MARK).touch()
    one = Alike(first.cloud, first.controllers)  # begun anew
    [found] = await one.tells.check(first.cloud)
    assert "off at c2, and on elsewhere" in found.message and "notifications on" in found.mend
    (home / notifications.MARK).touch()
    await Alike(there, Controllers(there, "c2", first.nodes, frozenset)).tell()
    assert await one.tells.check(first.cloud) == []


async def test_whoever_dies_between_two_authorities_goes_on(first: First, monkeypatch: pytest.MonkeyPatch) -> None:
    rotation = Rotation(first.cloud, first.controllers, first.nodes, first.cloud.links, lambda: None)
    old = {name: succession.newest(first.home / name) for name in FOLDERS}
    for step in ("begin", "go", "finish"):
        do = getattr(succession, step)

        def dies(folder: Path, *more: object, do: Callable[..., None] = do) -> None:
            if folder.name == "controllers":
                raise Failure("died")
            do(folder, *more)

        async def run(step: str = step) -> None:
            do = {"begin": rotation.begin, "go": partial(rotation.go_on, alone=True), "finish": partial(rotation.finish, force=True)}
            await do[step]()

        with monkeypatch.context() as dying, pytest.raises(Failure, match="died"):
            dying.setattr(succession, step, dies)
            await run()
        assert rotation.step
        if step != "go":  # the end does what was left of it
            await run()
    await rotation.close()
    assert rotation.step == "" and all(succession.newest(first.home / name) != old[name] for name in FOLDERS)
    assert all((first.home / name / "ca.crt").read_bytes().count(b"BEGIN") == 1 for name in FOLDERS)


async def test_no_controller_is_cut_off_from_a_database_that_is_on_each(first: First) -> None:
    await first.controllers.enrol(asked(await first.controllers.make_token()))
    rotation = Rotation(first.cloud, first.controllers, first.nodes, first.cloud.links, lambda: None)
    (first.home / heritage.HOSTS).write_text("192.0.2.1:5432\n192.0.2.2:5432\n")
    await rotation.begin()
    with pytest.raises(Conflict, match="c2 would be cut off: without them it may take no writes"):
        await rotation.finish(force=True)
    assert rotation.step == certificates.COMING
    await first.controllers.remove("c2")
    await rotation.finish(force=True)
    assert rotation.step == ""
    await rotation.close()


async def test_settings_are_those_of_the_cloud_and_none_of_the_machine(first: First, tmp_path: Path) -> None:
    given = await first.controllers.enrol(asked(await first.controllers.make_token()))
    said = tomllib.loads(given.settings)
    assert said == {"database_url": DATABASE, "public_url": "https://192.0.2.1:5000", "tls": True,
                    "network": {"northbound": "ssl:192.0.2.1:6641", "southbound": "ssl:192.0.2.1:6642"}}  # fmt: skip


def test_any_settings_come_whole_and_a_home_becomes_the_others(tmp_path: Path) -> None:
    text = f"""
        region = "Süd \\"1\\""
        database_url = "postgresql://db/moln?sslkey={tmp_path}/one/controllers/controller.pem"
        project_requests_per_s = 2.5
        [image]
        import_methods = ["glance-direct"]
        import_properties = {{ "a b" = "c\\n" }}
        [link]
        nats = ["tls://n1:4222", "tls://n2:4222"]
        controller = "c1"
        [compute]
        clock_limit_ms = 700
    """
    before = msgspec.convert(tomllib.loads(text), AllSettings)
    (tmp_path / "two").mkdir()
    heritage.keep(tmp_path / "two", Heritage({}, heritage.settings_text(before, tmp_path / "one")))
    after = msgspec.convert(tomllib.loads((tmp_path / "two/moln.toml").read_text()), AllSettings)
    assert after.database_url == before.database_url.replace("/one/", "/two/") and after.link.controller == ""
    same = {"database_url": "", "tls": True, "link": msgspec.structs.replace(before.link, controller="")}
    assert msgspec.structs.replace(after, **same) == msgspec.structs.replace(before, **same)


@pytest.mark.parametrize("name", ["../keys/1.key", "/etc/shadow", "keys/../../x", "tls/server.pem", "moln.toml", "host/machine.json"])
def test_no_other_file_is_taken(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with pytest.raises(Failure, match="no controller has"):
        heritage.keep(home, Heritage({name: b"x"}, ""))
    assert list(tmp_path.rglob("*")) == [home]


async def test_guessing_is_slow_and_the_answer_says_nothing(first: First) -> None:
    app = falcon.asgi.App()
    app.add_route("/controllers/enrolment", ControllerEnrolmentResource(first.controllers, first.clock))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://c1") as client:
        answers = [await client.post("/controllers/enrolment", content=msgspec.json.encode(asked("guess.0"))) for _ in range(BURST + 1)]
        assert [a.status_code for a in answers] == [403] * BURST + [429]
        assert len({a.text for a in answers[:BURST]}) == 1 and int(answers[-1].headers["Retry-After"]) > 0
        first.clock.late_s = 60
        for bad in (b"{", b"[]", b'{"token": 1}', b"x" * 20_000):
            assert (await client.post("/controllers/enrolment", content=bad)).status_code in (400, 413)


async def test_where_the_database_is_is_where_controllers_are(first: First) -> None:
    own = database_of_its_own.OwnDatabase(first.cloud, first.controllers)
    file = first.home / heritage.HOSTS
    assert own.periodics == [] and await own.standing() is None and own.invariants == [], "the database is another's"
    database_of_its_own.ensure(first.home, "192.0.2.1", first.nodes._now())
    assert file.read_text() == "192.0.2.1:5432\n"
    [learning] = own.periodics
    await first.controllers.start()
    given = await first.controllers.enrol(asked(await first.controllers.make_token(), url="https://[2001:db8::2]:5000"))
    assert given.files[heritage.HOSTS] == b"192.0.2.1:5432\n", "who joins has to find it, too"
    await learning.run(None)  # type: ignore[arg-type]
    assert Hosts("postgresql://moln@192.0.2.1/moln", file).all()[-1] == ("2001:db8::2", 5432)
    await first.controllers.remove("c2")
    await learning.run(None)  # type: ignore[arg-type]
    assert "2001" not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
