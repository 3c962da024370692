"""Domains whose users are in a directory: found, listed, signed in, given roles; changed there and never here."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.identity import slapd
from tests.identity.conftest import Keystone, keystone_at, on_project, password_auth, somebody
from tests.identity.slapd import GROUPS, PEOPLE, READER, READER_PASSWORD, SUFFIX, Slapd

from moln.identity.drivers.fake import FakeDirectory
from moln.identity.ops.invariants import INVARIANTS
from moln.identity.ops.signing_in import look_again

LDAP = {"identity": {"driver": "ldap"}, "ldap": {"url": "ldap://127.0.0.1:1"}}


class Corp:
    """A domain `corp` over a directory."""

    def __init__(self, cloud: Keystone, domain_id: str, directory: FakeDirectory):
        self.cloud, self.id, self.directory = cloud, domain_id, directory

    def body(self, name: str, password: str, scope: Any = None) -> dict[str, Any]:
        body = password_auth(name, password, scope)
        body["auth"]["identity"]["password"]["user"]["domain"] = {"id": self.id}
        return body

    async def sign_in(self, name: str, password: str, scope: Any = None) -> httpx.Response:
        return await self.cloud.ask(self.body(name, password, scope))

    async def listed(self, kind: str, **query: str) -> list[dict[str, Any]]:
        answer = await self.cloud.admin.get(f"/v3/{kind}", params={"domain_id": self.id} | query)
        assert answer.status_code == 200, answer.text
        return answer.json()[kind]

    def id_of(self, kind: str, local_id: str) -> str:
        return hashlib.sha256(f"{self.id}{kind}{local_id}".encode()).hexdigest()


async def corp(cloud: Keystone, config: Any = LDAP) -> Corp:
    directory = FakeDirectory()
    for name, password in (("ada", "analytical"), ("bob", "builder")):
        directory.add(name, password)
    directory.gather("developers", "ada", "bob")
    cloud.cloud.areas["identity"].directory_of = lambda options: directory
    domain = await cloud.make("domain", name="corp")
    assert (await cloud.admin.put(f"/v3/domains/{domain['id']}/config", json={"config": config})).status_code == 201
    return Corp(cloud, domain["id"], directory)


async def test_they_are_listed_shown_and_named_as_keystone_names_them(keystone: Keystone) -> None:
    there = await corp(keystone)
    assert {u["name"]: u["id"] for u in await there.listed("users")} == {name: there.id_of("user", name) for name in ("ada", "bob")}
    assert [u["name"] for u in await there.listed("users", name="bob")] == ["bob"] and await there.listed("users", name="*") == []
    assert [g["id"] for g in await there.listed("groups")] == [there.id_of("group", "developers")]
    ada, developers = there.id_of("user", "ada"), there.id_of("group", "developers")
    assert (await keystone.admin.get(f"/v3/users/{ada}")).json()["user"]["domain_id"] == there.id
    assert [g["id"] for g in (await keystone.admin.get(f"/v3/users/{ada}/groups")).json()["groups"]] == [developers]
    assert {u["name"] for u in (await keystone.admin.get(f"/v3/groups/{developers}/users")).json()["users"]} == {"ada", "bob"}
    assert (await keystone.admin.get(f"/v3/groups/{developers}/users/{ada}")).status_code == 204
    there.directory.inside["developers"] = ["bob"]
    assert (await keystone.admin.get(f"/v3/groups/{developers}/users/{ada}")).status_code == 404
    del there.directory.folk["ada"], there.directory.groups["developers"]
    for path in (f"/v3/users/{ada}", f"/v3/groups/{developers}", f"/v3/groups/{developers}/users"):
        assert (await keystone.admin.get(path)).status_code == 404
    assert [u["name"] for u in await there.listed("users")] == ["bob"] and await there.listed("groups") == []
    assert "ada" not in [u["name"] for u in (await keystone.admin.get("/v3/users")).json()["users"]]


async def test_a_list_by_name_shows_who_has_it_now(keystone: Keystone) -> None:
    there = await corp(keystone)
    assert len(await there.listed("users", name="ada")) == 1 and len(await there.listed("groups", name="developers")) == 1
    there.directory.add("ada", "analytical", name="countess")
    del there.directory.groups["developers"]
    assert await there.listed("users", name="ada") == [] and await there.listed("groups", name="developers") == []
    assert [u["id"] for u in await there.listed("users", name="countess")] == [there.id_of("user", "ada")]


async def test_a_list_that_is_not_all_makes_nobody_gone(keystone: Keystone) -> None:
    there = await corp(keystone)
    assert len(await there.listed("users")) == 2
    there.directory.truncates = True
    bob = there.directory.folk.pop("bob")
    assert len(await there.listed("users")) == 2
    there.directory.truncates = False
    assert [u["name"] for u in await there.listed("users")] == ["ada"]
    there.directory.folk["bob"] = bob
    assert len(await there.listed("users")) == 2


async def test_roles_of_users_and_groups_count(keystone: Keystone) -> None:
    there = await corp(keystone)
    await there.listed("users"), await there.listed("groups")
    project = await keystone.make("project", name="red")
    assert (await there.sign_in("ada", "analytical", on_project("red"))).status_code == 401
    path = f"/v3/projects/{project['id']}/groups/{there.id_of('group', 'developers')}/roles/{await keystone.role_id('member')}"
    assert (await keystone.admin.put(path)).status_code == 204
    await keystone.grant(there.id_of("user", "bob"), "reader", f"projects/{project['id']}")
    ada, bob = [await there.sign_in(name, word, on_project("red")) for name, word in (("ada", "analytical"), ("bob", "builder"))]
    assert {r["name"] for r in ada.json()["token"]["roles"]} == {"member", "reader"} == {r["name"] for r in bob.json()["token"]["roles"]}
    token = ada.headers["X-Subject-Token"]
    program = await keystone.client(token).post(f"/v3/users/{there.id_of('user', 'ada')}/application_credentials",
                                                json={"application_credential": {"name": "robot"}})  # fmt: skip
    shown = program.json()["application_credential"]
    by_program = {"auth": {"identity": {"methods": ["application_credential"], "application_credential": {"id": shown["id"], "secret": shown["secret"]}}}}
    assert (await keystone.ask(by_program)).status_code == 201
    there.directory.inside["developers"] = ["bob"]
    assert await keystone.works(token), "nobody has looked yet"
    await look_again(keystone.cloud)
    assert not await keystone.works(token) and await keystone.works(bob.headers["X-Subject-Token"])
    assert (await keystone.ask(by_program)).status_code == 401


@pytest.mark.parametrize("how", ["disabled", "gone"])
async def test_who_is_disabled_or_gone_there_is_out_here(keystone: Keystone, how: str) -> None:
    there = await corp(keystone)
    token = (await there.sign_in("ada", "analytical")).headers["X-Subject-Token"]
    ada = there.directory.folk["ada"]
    if how == "gone":
        del there.directory.folk["ada"]
    else:
        there.directory.add("ada", "analytical", enabled=False)
    await look_again(keystone.cloud)
    assert not await keystone.works(token) and (await there.sign_in("ada", "analytical")).status_code == 401
    there.directory.folk["ada"] = ada
    again = await there.sign_in("ada", "analytical")
    assert again.status_code == 201 and again.json()["token"]["user"]["id"] == there.id_of("user", "ada")
    assert not await keystone.works(token), "what was void stays void"


async def test_every_failed_attempt_looks_the_same_and_costs_a_hash_and_a_bind(keystone: Keystone) -> None:
    there = await corp(keystone)
    there.directory.add("dora", "explorer", enabled=False)
    passwords, seen = keystone.cloud.areas["identity"].passwords, set()
    await there.listed("users")
    ada = there.id_of("user", "ada")
    by_id = {"auth": {"identity": {"methods": ["password"], "password": {"user": {"id": ada, "password": "wrong"}}}}}
    bodies = [there.body("ada", "wrong"), there.body("nobody", "x"), there.body("dora", "explorer"), there.body("ada", ""), there.body("*", "analytical"), by_id,
              there.body("ada", "x" * 10_000), there.body("ada", "analytical\u00ad")]  # fmt: skip
    for body in bodies:
        before, binds = passwords.hashes, len(there.directory.binds)
        answer = await keystone.ask(body)
        assert (passwords.hashes, len(there.directory.binds)) == (before + 1, binds + 1)
        answer.headers.pop("x-openstack-request-id")
        seen.add((answer.status_code, answer.text, str(sorted(answer.headers.items()))))
    assert len(seen) == 1 and next(iter(seen))[0] == 401


async def test_locks_count_for_them_too(tmp_path: Path) -> None:
    async with keystone_at(tmp_path, lockout_attempts=2) as cloud:
        there = await corp(cloud)
        for _ in range(2):
            assert (await there.sign_in("ada", "wrong")).status_code == 401
        assert (await there.sign_in("ada", "analytical")).status_code == 401 and there.directory.binds[-1] is None
        change = {"user": {"original_password": "analytical", "password": "new"}}
        path = f"/v3/users/{there.id_of('user', 'ada')}/password"
        assert (await cloud.anonymous.post(path, json=change)).status_code == 401, "no other way to try passwords"
        cloud.clock.ahead_us += 3600 * 1_000_000
        assert (await there.sign_in("ada", "analytical")).status_code == 201
        assert (await cloud.anonymous.post(path, json=change)).status_code == 403
        change["user"]["original_password"] = "wrong"
        assert (await cloud.anonymous.post(path, json=change)).status_code == 401


async def test_nothing_is_written_to_a_directory(keystone: Keystone) -> None:
    there = await corp(keystone)
    await there.listed("users"), await there.listed("groups")
    ada, developers = there.id_of("user", "ada"), there.id_of("group", "developers")
    ours, group = await keystone.make("user", name="ours"), await keystone.make("group", name="ours")
    for method, path, body in (
        ("POST", "/v3/users", {"user": {"name": "new", "domain_id": there.id}}), ("POST", "/v3/groups", {"group": {"name": "new", "domain_id": there.id}}),
        ("PATCH", f"/v3/users/{ada}", {"user": {"enabled": False}}), ("DELETE", f"/v3/users/{ada}", None),
        ("PATCH", f"/v3/groups/{developers}", {"group": {"name": "x"}}), ("DELETE", f"/v3/groups/{developers}", None),
        ("PUT", f"/v3/groups/{developers}/users/{ours['id']}", None), ("PUT", f"/v3/groups/{group['id']}/users/{ada}", None),
        ("DELETE", f"/v3/groups/{developers}/users/{ada}", None),
    ):  # fmt: skip
        answer = await keystone.admin.request(method, path, json=body)
        assert answer.status_code == 403 and "LDAP" in answer.json()["error"]["message"], f"{method} {path}"


async def test_a_name_is_one_persons(keystone: Keystone) -> None:
    directory_first = await corp(keystone)
    assert len(await directory_first.listed("users")) == 2
    directory_first.directory.add("a2", "other", name="ada")
    del directory_first.directory.folk["ada"]
    assert {u["name"]: u["id"] for u in await directory_first.listed("users")}["ada"] == directory_first.id_of("user", "a2")
    assert (await directory_first.sign_in("ada", "analytical")).status_code == 401
    assert (await directory_first.sign_in("ada", "other")).json()["token"]["user"]["id"] == directory_first.id_of("user", "a2")


async def test_users_of_ours_in_its_domain_stay_ours(keystone: Keystone) -> None:
    domain = await keystone.make("domain", name="mixed")
    robot = await keystone.make("user", name="ada", password="robotic", domain_id=domain["id"])
    directory = FakeDirectory()
    directory.add("ada", "analytical"), directory.add("bob", "builder")
    keystone.cloud.areas["identity"].directory_of = lambda options: directory
    assert (await keystone.admin.put(f"/v3/domains/{domain['id']}/config", json={"config": LDAP})).status_code == 201
    there = Corp(keystone, domain["id"], directory)
    assert {u["id"] for u in await there.listed("users")} == {robot["id"], there.id_of("user", "bob")}
    assert (await there.sign_in("ada", "robotic")).json()["token"]["user"]["id"] == robot["id"]
    assert (await there.sign_in("ada", "analytical")).status_code == 401
    assert (await keystone.admin.patch(f"/v3/users/{robot['id']}", json={"user": {"email": "x"}})).status_code == 200


async def test_a_directory_that_is_lost_is_said_and_harms_nobody_else(keystone: Keystone) -> None:
    there = await corp(keystone)
    token = (await there.sign_in("ada", "analytical")).headers["X-Subject-Token"]
    there.directory.down = "The directory at ldap://127.0.0.1:1 does not answer: connection refused."
    ada = there.id_of("user", "ada")
    told = await there.sign_in("ada", "analytical")
    assert told.status_code == 503 and "directory that cannot be asked" in told.text and "127.0.0.1" not in told.text, "where it is, is not everybody's to know"
    for answer in (
        await keystone.admin.get("/v3/users", params={"domain_id": there.id}),
        await keystone.admin.get(f"/v3/users/{ada}"), await keystone.admin.get(f"/v3/users/{ada}/groups"),
        await keystone.admin.get("/v3/groups", params={"domain_id": there.id}),
    ):  # fmt: skip
        assert answer.status_code == 503 and "connection refused" in answer.json()["error"]["message"]
    assert await keystone.works(token), "those who are in stay in"
    assert await keystone.token("admin", keystone.password) and (await keystone.admin.get("/v3/users")).status_code == 200
    assert (await keystone.ask(password_auth("nobody", "x"))).status_code == 401
    with pytest.raises(Exception, match="connection refused"):
        await look_again(keystone.cloud)
    assert await keystone.works(token)
    found = [v.message for invariant in INVARIANTS for v in await invariant.check(keystone.cloud)]
    assert len(found) == 1 and "connection refused" in found[0]
    there.directory.down = ""
    assert (await there.sign_in("ada", "analytical")).status_code == 201


async def test_the_configuration_counts_as_soon_as_it_is_there_and_no_longer(keystone: Keystone) -> None:
    there = await corp(keystone)
    path = f"/v3/domains/{there.id}/config"
    token = (await there.sign_in("ada", "analytical")).headers["X-Subject-Token"]
    assert (await keystone.admin.patch(path, json={"config": {"ldap": {"query_scope": "all"}}})).status_code == 200
    answer = await there.sign_in("ada", "analytical")
    assert answer.status_code == 503 and "makes no sense" in answer.json()["error"]["message"] and "query_scope" not in answer.text
    told = [v.message for invariant in INVARIANTS for v in await invariant.check(keystone.cloud)]
    assert len(told) == 1 and "query_scope" in told[0], "the operator is told why"
    assert (await keystone.admin.patch(f"{path}/ldap/query_scope", json={"config": {"query_scope": "sub"}})).status_code == 200
    assert (await there.sign_in("ada", "analytical")).status_code == 201
    assert (await keystone.admin.delete(path)).status_code == 204
    assert (await there.sign_in("ada", "analytical")).status_code == 401
    assert await keystone.works(token), "tokens end by themselves, or with `openstack user delete`"
    assert (await keystone.admin.delete(f"/v3/users/{there.id_of('user', 'ada')}")).status_code == 204
    assert not await keystone.works(token)


async def test_a_domain_goes_with_all_that_was_known_of_its_directory(keystone: Keystone) -> None:
    there = await corp(keystone)
    await there.sign_in("ada", "analytical")
    await keystone.admin.patch(f"/v3/domains/{there.id}", json={"domain": {"enabled": False}})
    assert (await there.sign_in("ada", "analytical")).status_code == 401
    assert (await keystone.admin.delete(f"/v3/domains/{there.id}")).status_code == 204
    assert (await keystone.admin.get(f"/v3/users/{there.id_of('user', 'ada')}")).status_code == 404
    assert (await there.sign_in("ada", "analytical")).status_code == 401


@pytest.mark.skipif(not slapd.THERE, reason="slapd is not installed")
async def test_openldap_by_the_configuration_alone(keystone: Keystone, tmp_path: Path) -> None:
    server = Slapd(tmp_path / "slapd")
    server.group("developers", server.person("ada", "analytical"), server.person("bob", "builder"))
    domain = await keystone.make("domain", name="corp")
    config = {"identity": {"driver": "ldap"}, "ldap": {
        "url": f"ldaps://localhost:{server.tls_port}", "tls_cacertfile": str(server.ca), "user": READER, "password": READER_PASSWORD, "suffix": SUFFIX,
        "user_tree_dn": PEOPLE, "user_id_attribute": "uid", "user_name_attribute": "uid", "group_tree_dn": GROUPS, "group_name_attribute": "cn",
    }}  # fmt: skip
    try:
        assert (await keystone.admin.put(f"/v3/domains/{domain['id']}/config", json={"config": config})).status_code == 201
        there = Corp(keystone, domain["id"], FakeDirectory())
        assert {u["email"] for u in await there.listed("users")} == {"ada@corp.example", "bob@corp.example"}
        project = await keystone.make("project", name="red")
        assert [g["description"] for g in await there.listed("groups", name="developers")] == ["of developers"]
        role = await keystone.role_id("member")
        path = f"/v3/projects/{project['id']}/groups/{there.id_of('group', 'developers')}/roles/{role}"
        assert (await keystone.admin.put(path)).status_code == 204
        signed_in = await there.sign_in("ada", "analytical", on_project("red"))
        assert signed_in.status_code == 201 and signed_in.json()["token"]["user"]["id"] == there.id_of("user", "ada")
        for name, password in (("ada", "wrong"), ("ada", ""), ("*", "analytical"), ("ada)(uid=*", "analytical"), ("nobody", "x")):
            assert (await there.sign_in(name, password)).status_code == 401
        server.stop()
        lost = await there.sign_in("bob", "builder")
        assert lost.status_code == 503 and "cannot be asked" in lost.json()["error"]["message"]
        seen = await keystone.admin.get("/v3/users", params={"domain_id": domain["id"]})
        assert seen.status_code == 503 and "does not answer" in seen.json()["error"]["message"]
        assert await keystone.works(signed_in.headers["X-Subject-Token"]) and await keystone.token("admin", keystone.password)
        assert (await keystone.admin.delete(f"/v3/domains/{domain['id']}/config")).status_code == 204
    finally:
        server.stop()


async def test_what_is_known_is_not_written_again(keystone: Keystone) -> None:
    there = await corp(keystone)
    keystone.cloud.db.feed.subscribe("identity", lambda keys: told.extend(keys))
    told: list[str] = []
    first = await there.sign_in("ada", "analytical")
    await there.listed("users"), await there.listed("groups")
    developers, ada = there.id_of("group", "developers"), there.id_of("user", "ada")
    await keystone.admin.get(f"/v3/groups/{developers}/users")
    writes: list[Any] = []
    write = keystone.cloud.db.write
    keystone.cloud.db.write = lambda fn, *args: (writes.append(fn), write(fn, *args))[1]  # type: ignore[method-assign,assignment]
    told.clear()
    for _ in range(2):
        assert (await there.sign_in("ada", "analytical")).status_code == 201
        assert len(await there.listed("users")) == 2 and len(await there.listed("groups")) == 1
        for path in (f"/v3/users/{ada}", f"/v3/users/{ada}/groups", f"/v3/groups/{developers}/users", f"/v3/groups/{developers}"):
            assert (await keystone.admin.get(path)).status_code == 200
        await look_again(keystone.cloud)
    assert writes == [] and told == [] and await keystone.works(first.headers["X-Subject-Token"])


async def test_who_may_not_see_them_does_not_learn_whether_the_directory_answers(keystone: Keystone) -> None:
    there = await corp(keystone)
    await there.listed("users"), await there.listed("groups")
    ada, developers = there.id_of("user", "ada"), there.id_of("group", "developers")
    there.directory.down = "The directory does not answer."
    stranger = await somebody(keystone, "stranger", "elsewhere")
    reader = await keystone.make("user", name="reader", password="correct horse")
    await keystone.grant(reader["id"], "reader", f"domains/{there.id}")
    of_domain = keystone.client(await keystone.token("reader", "correct horse", {"domain": {"id": there.id}}))
    paths = ("/v3/users", f"/v3/users/{ada}", f"/v3/users/{ada}/groups", f"/v3/groups/{developers}/users", f"/v3/groups/{developers}/users/{ada}", "/v3/groups")
    for path in paths:
        assert (await keystone.client(stranger.token).get(path, params={"domain_id": there.id})).status_code == 403, path
        assert (await of_domain.get(path)).status_code == 503, path
    there.directory.down = ""
    for path in paths:
        assert (await of_domain.get(path)).is_success, path


async def test_many_are_listed_in_pages_and_the_directory_is_asked_for_the_first_alone(keystone: Keystone) -> None:
    there = await corp(keystone)
    for number in range(120):
        there.directory.add(f"user{number}", "x")
    first = await there.listed("users", limit="100")
    there.directory.down = "The directory does not answer."
    second = await there.listed("users", limit="100", marker=first[-1]["id"])
    assert (len(first), len(second)) == (100, 22) and not {u["id"] for u in first} & {u["id"] for u in second}
    there.directory.down = ""
    there.directory.folk.clear()
    assert await there.listed("users", limit="100") == []
