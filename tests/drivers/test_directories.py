"""What every directory does: one in memory, and OpenLDAP as Debian has it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.identity import slapd
from tests.identity.slapd import GROUPS, PEOPLE, READER, READER_PASSWORD, SUFFIX, Slapd

from moln.identity.drivers import ldap as driver
from moln.identity.drivers.base import Directory
from moln.identity.drivers.fake import FakeDirectory
from moln.identity.drivers.ldap import LdapDirectory
from moln.identity.model.ldap import options_of
from moln.kernel.errors import BackendUnreachable

NEEDS_SLAPD = pytest.mark.skipif(not slapd.THERE, reason="slapd is not installed")
ODD = "o'dd)(uid=*)*"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    server = Slapd(tmp_path_factory.mktemp("slapd"))
    ada, bob = server.person("ada", "analytical"), server.person("bob", "builder")
    server.person("carl", "x", name="Carl, the \\ odd")
    server.group("developers", ada, bob)
    server.group("owners", ada)
    yield server
    server.stop()


def options(server: Slapd, **more: Any) -> Any:
    return options_of({
        "url": server.url, "user": READER, "password": READER_PASSWORD, "suffix": SUFFIX, "user_tree_dn": PEOPLE, "group_tree_dn": GROUPS,
        "user_id_attribute": "uid", "user_name_attribute": "uid", "group_name_attribute": "cn",
    } | more)  # fmt: skip


def ldap(server: Slapd, **more: Any) -> LdapDirectory:
    return LdapDirectory(options(server, **more))


def fake() -> FakeDirectory:
    made = FakeDirectory()
    for name, password in (("ada", "analytical"), ("bob", "builder"), ("carl", "x")):
        made.add(name, password)
    made.gather("developers", "ada", "bob")
    made.gather("owners", "ada")
    return made


@pytest.fixture(params=["fake", pytest.param("slapd", marks=NEEDS_SLAPD)])
async def directory(request: pytest.FixtureRequest) -> AsyncIterator[Directory]:
    made: Directory = fake() if request.param == "fake" else ldap(request.getfixturevalue("server"))
    yield made
    made.close()


async def test_people_and_groups_are_found_listed_and_gathered(directory: Directory) -> None:
    ada = await directory.person(name="ada")
    assert ada is not None and (ada.local_id, ada.name, ada.enabled) == ("ada", "ada", True)
    assert await directory.person(local_id="ada") == ada
    people, whole = await directory.people()
    assert ({p.local_id for p in people}, whole) == ({"ada", "bob", "carl"}, True)
    assert [p.local_id for p in (await directory.people("bob"))[0]] == ["bob"]
    groups, whole = await directory.circles()
    assert ({g.local_id for g in groups}, whole) == ({"developers", "owners"}, True)
    assert {g.local_id for g in await directory.circles_of(ada)} == {"developers", "owners"}
    developers = await directory.circle("developers")
    assert developers is not None and {p.local_id for p in await directory.members(developers)} == {"ada", "bob"}
    assert await directory.person(name="nobody") is None and await directory.circle("nothing") is None


async def test_a_password_is_right_or_it_is_not(directory: Directory) -> None:
    """The server takes a bind without a password for nobody's, and says yes: U+00AD is one that ldap3 would leave nothing of."""
    ada, bob = await directory.person(name="ada"), await directory.person(name="bob")
    assert await directory.proves(ada, "analytical")
    for person, password in ((ada, "builder"), (ada, ""), (bob, "analytical"), (None, "analytical"), (None, ""), (ada, "analytical\0"), (ada, "\u00a0\x07"), (ada, "\u00ad")):
        assert not await directory.proves(person, password)


@pytest.mark.parametrize("name", ["*", "a*", ODD, "ada)(objectClass=*", "\\2a", "", "ada\0", "x" * 3000, "ада"])
async def test_no_name_means_somebody_else(directory: Directory, name: str) -> None:
    if name:
        assert await directory.person(name=name) is None and await directory.person(local_id=name) is None
    assert (await directory.people(name))[0] == [] and (await directory.circles(name))[0] == [] and await directory.circle(name) is None


@NEEDS_SLAPD
async def test_names_with_anything_in_them_are_themselves(server: Slapd) -> None:
    directory = ldap(server, user_name_attribute="cn")
    carl = await directory.person(name="Carl, the \\ odd")
    assert carl is not None and carl.local_id == "carl" and await directory.proves(carl, "x")
    directory.close()


@NEEDS_SLAPD
@pytest.mark.parametrize("more", [{"use_tls": True}, {"url": "ldaps://127.0.0.1:{tls}"}, {"url": "ldap://127.0.0.1:1, ldaps://localhost:{tls}"}])
async def test_tls_is_verified(server: Slapd, more: dict[str, Any], tmp_path: Path) -> None:
    more = {name: value.format(tls=server.tls_port) if isinstance(value, str) else value for name, value in more.items()}
    good = ldap(server, tls_cacertfile=str(server.ca), **more)
    assert await good.proves(await good.person(name="ada"), "analytical")
    for bad in (ldap(server, **more), ldap(server, tls_cacertfile=str(tmp_path / "nonesuch"), **more)):
        with pytest.raises(BackendUnreachable):
            await bad.person(name="ada")
        bad.close()
    good.close()


@NEEDS_SLAPD
async def test_a_certificate_of_another_name_is_refused(server: Slapd) -> None:
    other = ldap(server, tls_cacertfile=str(server.ca), url=f"ldaps://127.0.0.2:{server.tls_port}")
    listener = socket.create_server(("127.0.0.2", server.tls_port))
    stop = threading.Event()

    def carry() -> None:
        """What comes to 127.0.0.2 goes on to the server, whose certificate is for 127.0.0.1."""
        taken, _ = listener.accept()
        with taken, socket.create_connection(("127.0.0.1", server.tls_port)) as there:
            pumps = [threading.Thread(target=_pump, args=pair, daemon=True) for pair in ((taken, there), (there, taken))]
            for pump in pumps:
                pump.start()
            stop.wait(10)

    carrying = threading.Thread(target=carry, daemon=True)
    carrying.start()
    with pytest.raises(BackendUnreachable, match="certificate|127.0.0.2"):
        await other.person(name="ada")
    stop.set()
    carrying.join()
    listener.close()
    other.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        return


@NEEDS_SLAPD
async def test_a_server_that_is_lost_refuses_or_hangs_is_said_in_time(server: Slapd, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = ldap(server, password="wrong")
    with pytest.raises(BackendUnreachable, match="refuses its reader"):
        await wrong.person(name="ada")
    nowhere = ldap(server, user_tree_dn=f"ou=nowhere,{SUFFIX}")
    with pytest.raises(BackendUnreachable, match="nowhere"):
        await nowhere.people()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hung = ldap(server, url=f"ldap://127.0.0.1:{silent.getsockname()[1]}", pool_connection_timeout=0.2, pool_size=2)
        monkeypatch.setattr(driver, "WAITING", 3)
        found = await asyncio.gather(*(hung.person(name="ada") for _ in range(5)), return_exceptions=True)
        assert all(isinstance(error, BackendUnreachable) for error in found)
        assert sum("Too many" in error.message for error in found if isinstance(error, BackendUnreachable)) == 5 - 3
        good = ldap(server)
        assert await good.person(name="ada"), "another directory's threads are its own"
        hung.close()
    good.close()


@NEEDS_SLAPD
async def test_connections_are_used_again_and_made_anew_when_the_server_was_away(server: Slapd) -> None:
    directory = ldap(server)
    for _ in range(3):
        assert await directory.person(name="ada")
    assert len(directory._idle) == 1
    server.stop()
    with pytest.raises(BackendUnreachable):
        await directory.person(name="ada")
    server.start()
    assert await directory.person(name="ada")
    directory.close()


@NEEDS_SLAPD
async def test_who_is_enabled_is_as_the_options_have_it(server: Slapd) -> None:
    dn = server.person("dora", "x", kind="514")
    async def enabled(name: str, **more: Any) -> bool:
        directory = ldap(server, **more)
        found = await directory.person(name=name)
        directory.close()
        assert found is not None
        return found.enabled

    attribute = {"user_enabled_attribute": "employeeType"}
    assert not await enabled("dora", **attribute, user_enabled_mask=2, user_enabled_default="512")
    assert await enabled("dora", **attribute, user_enabled_mask=1)
    assert not await enabled("ada", **attribute, user_enabled_mask=2), "what is no number is no yes"
    assert not await enabled("ada", **attribute), "what is no yes is a no"
    server.modify(f"dn: {dn}\nchangetype: modify\nreplace: employeeType\nemployeeType: TRUE\n")
    assert await enabled("dora", **attribute) and not await enabled("dora", **attribute, user_enabled_invert=True)
    assert await enabled("dora") and not await enabled("dora", user_enabled_default="false")
    emulation = {"user_enabled_emulation": True, "user_enabled_emulation_dn": f"cn=owners,{GROUPS}"}
    assert await enabled("ada", **emulation) and not await enabled("bob", **emulation)
    server.delete(dn)


@NEEDS_SLAPD
async def test_filters_groups_by_id_pages_and_limits(server: Slapd) -> None:
    filtered = ldap(server, user_filter="uid=b*", page_size=1)
    assert [p.local_id for p in (await filtered.people())[0]] == ["bob"] and await filtered.person(name="ada") is None
    paged = ldap(server, page_size=1, query_scope="sub")
    assert len((await paged.people())[0]) == 3
    server.add(f"dn: cn=posix,{GROUPS}\nobjectClass: posixGroup\ncn: posix\ngidNumber: 5\nmemberUid: ada\nmemberUid: bob\n")
    posix = ldap(server, group_objectclass="posixGroup", group_member_attribute="memberUid", group_members_are_ids=True)
    circle = await posix.circle("posix")
    ada = await posix.person(name="ada")
    assert circle is not None and ada is not None
    assert {p.local_id for p in await posix.members(circle)} == {"ada", "bob"} and await posix.circles_of(ada) == [circle]
    by_mail = ldap(server, user_id_attribute="mail", user_additional_attribute_mapping="employeeType:kind", user_attribute_ignore="email")
    developers = await by_mail.circle("developers")
    assert developers is not None
    assert {(p.local_id, p.extra["kind"]) for p in await by_mail.members(developers)} == {("ada@corp.example", "employed"), ("bob@corp.example", "employed")}
    for made in (filtered, paged, posix, by_mail):
        made.close()


@pytest.mark.parametrize(("given", "why"), [
    ({"url": "http://x"}, "url"), ({"url": "ldaps://x", "use_tls": True}, "StartTLS"), ({"user": "cn=x"}, "password"), ({"page_size": "many"}, "page_size"),
    ({"query_scope": "all"}, "query_scope"), ({"tls_req_cert": "never"}, "tls_req_cert"), ({"tls_req_cert": "allow"}, "tls_req_cert"),
])  # fmt: skip
def test_options_that_make_no_sense_are_refused(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        options_of(given)
