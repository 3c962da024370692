"""A database that PyPI's Keystone made, brought here: the same ids, the same passwords, the same roles."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.clients.conftest import Running, running_cloud
from tests.keystone import mariadb
from tests.keystone.filling import HASHES, World, fill
from tests.keystone.real import Keystone

from moln.cli.keystone import Tables, read
from moln.identity.ops.importing import keystone as importing
from moln.identity.store import users as user_store

pytestmark = [
    pytest.mark.engines,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not mariadb.is_here(), reason="Debian's packages mariadb-server-core and mariadb-client"),
]


class Source:
    """A filled Keystone; url: its database, dump: the same as a file."""

    def __init__(self, keystone: Keystone, folder: Path):
        self.world: World = fill(keystone)
        self.keystone, self.url = keystone, keystone.mariadb.url("keystone")
        self.dump = folder / "keystone.sql"
        self.dump.write_text(keystone.mariadb.dump("--databases", "keystone"))

    def tables(self, source: str = "", keys: bool = True) -> Tables:
        return read(source or self.url, "keystone", self.keystone.credential_keys if keys else None, lambda _: None)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    server, folder = mariadb.MariaDB(), tmp_path_factory.mktemp("keystone")
    try:
        yield Source(Keystone(server, folder / "etc"), folder)
    finally:
        server.stop()


async def sign_in(api: Any, user: str, password: str, domain: str, scope: dict[str, Any]) -> httpx.Response:
    who = {"methods": ["password"], "password": {"user": {"name": user, "domain": {"name": domain}, "password": password}}}
    return await api.anonymous.post("/identity/v3/auth/tokens", json={"auth": {"identity": who, "scope": scope}})


async def administrator(api: Any, world: World) -> httpx.AsyncClient:
    answer = await sign_in(api, "admin", world.passwords["admin"], "Default", {"project": {"name": "admin", "domain": {"id": "default"}}})
    assert answer.status_code == 201, answer.text
    assert answer.json()["token"]["user"]["id"] == world.ids["user/admin"]
    return api.client(answer.headers["X-Subject-Token"])


async def test_the_live_database_and_its_dump_say_the_same(source: Source) -> None:
    live, dumped = source.tables(), source.tables(str(source.dump))
    assert live["user"] and live == dumped


async def test_who_had_a_password_signs_in_with_it_and_has_the_same_ids_and_roles(api: Any, source: Source) -> None:
    world = source.world
    await importing.run(api.cloud, source.tables(), dry_run=False)
    answer = await sign_in(api, "ada", world.passwords["ada"], "corp", {"project": {"id": world.ids["project/web"]}})
    assert answer.status_code == 201, answer.text
    token = answer.json()["token"]
    assert token["user"]["id"] == world.ids["user/ada"]
    assert {role["name"]: role["id"] for role in token["roles"]} == {name: world.ids[f"role/{name}"] for name in ("member", "reader")}
    assert (await sign_in(api, "ada", "the password of ada", "corp", {"project": {"id": world.ids["project/web"]}})).status_code == 401
    system = await sign_in(api, "ada", world.passwords["ada"], "corp", {"system": {"all": True}})
    assert [role["name"] for role in system.json()["token"]["roles"]] == ["reader"]
    domain = await sign_in(api, "ada", world.passwords["ada"], "corp", {"domain": {"name": "corp"}})
    assert {role["name"] for role in domain.json()["token"]["roles"]} == {"auditor", "reader"}


@pytest.mark.parametrize("kind", HASHES)
async def test_every_kind_of_hash_verifies_and_is_renewed(api: Any, source: Source, kind: str) -> None:
    await importing.run(api.cloud, source.tables(), dry_run=False)
    name, scope = f"hashed-{kind}", {"project": {"name": "admin", "domain": {"id": "default"}}}
    user = await user_store.find_named(api.cloud.db, name, "default")
    assert user is not None
    assert (await sign_in(api, name, "wrong", "Default", scope)).status_code == 401
    before = await user_store.password_hash(api.cloud.db, user.id)
    assert before is not None and not before.startswith("$argon2")
    assert (await sign_in(api, name, source.world.passwords[name], "Default", scope)).status_code == 201
    after = await user_store.password_hash(api.cloud.db, user.id)
    assert after is not None and after.startswith("$argon2id$")
    assert (await sign_in(api, name, source.world.passwords[name], "Default", scope)).status_code == 201


async def test_what_a_keystone_has_is_here(api: Any, source: Source) -> None:
    ids = source.world.ids
    await importing.run(api.cloud, source.tables(), dry_run=False)
    admin = await administrator(api, source.world)

    async def get(path: str) -> Any:
        answer = await admin.get(f"/identity/v3/{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    web = (await get(f"projects/{ids['project/web']}"))["project"]
    assert (web["tags"], web["options"], web["cost_centre"], web["domain_id"]) == (["blue", "old"], {"immutable": True}, "42", ids["domain/corp"])
    below = (await get(f"projects/{ids['project/web-test']}"))["project"]
    assert (below["parent_id"], below["enabled"]) == (web["id"], False)
    ada = (await get(f"users/{ids['user/ada']}"))["user"]
    assert (ada["email"], ada["default_project_id"], ada["options"]) == ("ada@example.org", web["id"], {"lock_password": True})
    assert [user["id"] for user in (await get(f"groups/{ids['group/staff']}/users"))["users"]] == [ada["id"]]
    assert (await get(f"credentials/{ids['credential/totp']}"))["credential"]["blob"] == "GEZDGNBVGY3TQOJQ"
    assert json.loads((await get(f"credentials/{ids['credential/ec2']}"))["credential"]["blob"]) == {"access": "AK", "secret": "SK"}
    assert (await get(f"limits/{ids['limit/servers']}"))["limit"]["resource_limit"] == 5
    quota = await admin.get(f"/compute/v2.1/os-quota-sets/{web['id']}")
    assert quota.json()["quota_set"]["instances"] == 5
    provider = (await get("OS-FEDERATION/identity_providers/partner"))["identity_provider"]
    assert (provider["remote_ids"], provider["domain_id"]) == (["https://partner.example"], ids["domain/corp"])
    assert (await get("OS-FEDERATION/identity_providers/partner/protocols/openid"))["protocol"]["mapping_id"] == "people"
    assert (await get(f"policies/{ids['policy/kind']}"))["policy"]["blob"] == "be kind"
    assert (await get(f"domains/{ids['domain/corp']}/config"))["config"]["ldap"] == {"url": "ldap://d"}
    inferred = (await get(f"roles/{ids['role/auditor']}/implies"))["role_inference"]["implies"]
    assert [role["id"] for role in inferred] == [ids["role/reader"]]
    catalogue = {entry["type"]: entry for entry in (await get("auth/catalog"))["catalog"]}
    assert catalogue["compute"]["id"] == ids["service/nova"]
    assert all(endpoint["url"].startswith(api.cloud.settings.public_url) for endpoint in catalogue["compute"]["endpoints"])
    assert catalogue["object-store"]["endpoints"][0]["id"] == ids["endpoint/swift"]


async def test_assignments_are_those_of_the_keystone(api: Any, source: Source) -> None:
    """All of them, as Keystone's own API lists them."""
    await importing.run(api.cloud, source.tables(), dry_run=False)
    admin = await administrator(api, source.world)
    path = "role_assignments?include_names=true"
    theirs: list[Any] = []
    with source.keystone.api() as client:
        theirs = client.get(f"/v3/{path}").json()["role_assignments"]
    ours = (await admin.get(f"/identity/v3/{path}")).json()["role_assignments"]

    def known(assignments: list[Any]) -> set[str]:
        return {repr(sorted((name, repr(value)) for name, value in found.items() if name != "links")) for found in assignments}

    assert len(theirs) > 8
    assert known(theirs) <= known(ours)


async def test_an_application_credential_and_a_trust_go_on(api: Any, source: Source) -> None:
    world = source.world
    await importing.run(api.cloud, source.tables(), dry_run=False)
    shown = {"id": world.ids["application_credential/robot"], "secret": world.secret}
    answer = await api.anonymous.post(
        "/identity/v3/auth/tokens", json={"auth": {"identity": {"methods": ["application_credential"], "application_credential": shown}}}
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["token"]["application_credential"]["access_rules"][0]["path"] == "/v3/users/*"
    robot = api.client(answer.headers["X-Subject-Token"])
    assert (await robot.get(f"/identity/v3/users/{world.ids['user/ada']}")).status_code == 200
    assert (await robot.get("/identity/v3/projects")).status_code == 401
    lent = await sign_in(api, "admin", world.passwords["admin"], "Default", {"OS-TRUST:trust": {"id": world.ids["trust"]}})
    assert lent.status_code == 201, lent.text
    assert lent.json()["token"]["user"]["id"] == world.ids["user/ada"]


async def test_a_dry_run_changes_nothing_and_a_second_import_neither(api: Any, source: Source) -> None:
    said = await importing.run(api.cloud, source.tables(), dry_run=True)
    assert not said["conflicts"] and await user_store.find(api.cloud.db, source.world.ids["user/ada"]) is None
    first = await importing.run(api.cloud, source.tables(), dry_run=False)
    assert first == said
    again = await importing.run(api.cloud, source.tables(), dry_run=False)
    assert not again["brought"] and not again["differing"] and not again["conflicts"], again
    assert set(first["brought"]) <= set(again["there"]) | {"old password", "sign-in"}


async def test_without_its_keys_credentials_stay_behind_and_are_named(api: Any, source: Source) -> None:
    said = await importing.run(api.cloud, source.tables(keys=False), dry_run=True)
    left = {item.id: item.why for item in said["left"]}
    assert "none of the credential keys" in left[source.world.ids["credential/totp"]]
    assert "credential" not in said["brought"]


@pytest.fixture
def running() -> Iterator[Running]:
    """A cloud of its own."""
    with running_cloud(nodes=0) as cloud:
        yield cloud


def test_the_command_brings_a_running_database_to_a_running_cloud(source: Source, running: Running) -> None:
    where = f"--credential-keys={shutil.copytree(source.keystone.credential_keys, running.home.parent / 'keys')}"
    for path in (running.home.parent / "keys").rglob("*"):
        path.chmod(0o644)
    (running.home.parent / "keys").chmod(0o755)
    tried = running.moln("import", "keystone", source.url, where, "--dry-run")
    done = running.moln("import", "keystone", source.url, where)
    assert tried.stdout == done.stdout
    assert ["user", "6", "1", "0", "0"] in [line.split() for line in done.stdout.splitlines()], done.stdout
    (running.home / "admin.password").write_text(source.world.passwords["admin"] + "\n")
    running.moln("up", "--simulate", "--detach", "--port", str(running.port), "--nodes", "0")
    assert {user["ID"] for user in running.openstack("user", "list", "--domain", "corp")} == {source.world.ids["user/ada"], source.world.ids["user/bob"]}
    said = json.loads(running.moln("import", "keystone", source.url, where, "--json").stdout)
    assert not said["brought"] and not said["differing"]
    bad = running.moln("import", "keystone", "/nowhere.sql", check=False)
    assert bad.returncode == 1 and "/nowhere.sql cannot be read" in bad.stderr
