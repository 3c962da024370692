"""What an import does with what is here already, and with what cannot come: on a small Keystone written down by hand."""

from __future__ import annotations

from typing import Any

import pytest
from tests.identity.conftest import Keystone, on_project, password_auth
from tests.identity.test_foreign_hashes import OF_OLD_SECRET

from moln.identity.model.directory import public_id
from moln.identity.ops.importing import keystone as importing
from moln.identity.store import directory, projects, roles, users
from moln.identity.store.limits import LIMITS
from moln.kernel import quota
from moln.kernel.db import Transaction
from moln.kernel.db.owners import tables_of
from moln.kernel.errors import Conflict, Invalid

Tables = dict[str, list[dict[str, Any]]]
ROOT = "<<keystone.domain.root>>"
SECRET = "old secret"


def project(id_: str, name: str, **values: Any) -> dict[str, Any]:
    return {"id": id_, "name": name, "domain_id": "default", "parent_id": "default", "description": "", "enabled": 1, "is_domain": 0, "extra": "{}"} | values


def domain(id_: str, name: str) -> dict[str, Any]:
    return project(id_, name, domain_id=ROOT, parent_id=None, is_domain=1)


def role(id_: str, name: str) -> dict[str, Any]:
    return {"id": id_, "name": name, "domain_id": "<<null>>", "description": None, "extra": "{}"}


def user(id_: str, **values: Any) -> dict[str, Any]:
    return {"id": id_, "domain_id": "default", "enabled": 1, "default_project_id": None, "last_active_at": None, "extra": "{}"} | values


def local(number: int, user_id: str, name: str) -> dict[str, Any]:
    return {"id": number, "user_id": user_id, "domain_id": "default", "name": name, "failed_auth_count": 0, "failed_auth_at": None}


def password(number: int, hashed: str, at: int = 1_700_000_000_000_000) -> dict[str, Any]:
    return {"local_user_id": number, "password_hash": hashed, "created_at_int": at, "created_at": None, "expires_at_int": None, "expires_at": None}


def grant(user_id: str, target: str, role_id: str, kind: str = "UserProject") -> dict[str, Any]:
    return {"type": kind, "actor_id": user_id, "target_id": target, "role_id": role_id, "inherited": 0}


@pytest.fixture
def tables() -> Tables:
    """What keystone-manage bootstrap makes, and one user more."""
    return {
        "project": [project(ROOT, ROOT, enabled=0, is_domain=1), domain("default", "Default"), project("their-admin-project", "admin")],
        "role": [role(f"their-{name}", name) for name in ("admin", "manager", "member", "reader")],
        "implied_role": [{"prior_role_id": "their-admin", "implied_role_id": "their-manager"}],
        "user": [user("their-admin-user"), user("carol-id", extra='{"email": "c@example.org"}')],
        "local_user": [local(1, "their-admin-user", "admin"), local(2, "carol-id", "carol")],
        "password": [password(1, OF_OLD_SECRET["bcrypt"]), password(2, OF_OLD_SECRET["scrypt"]), password(2, OF_OLD_SECRET["bcrypt"], 1)],
        "assignment": [grant("their-admin-user", "their-admin-project", "their-admin"), grant("carol-id", "their-admin-project", "their-reader")],
        "system_assignment": [grant("their-admin-user", "system", "their-admin", "UserSystem")],
        "service": [{"id": "their-keystone", "type": "identity", "enabled": 1, "extra": '{"name": "keystone"}'}],
        "region": [{"id": "RegionOne", "description": "", "parent_region_id": None, "extra": "{}"}],
    }  # fmt: skip


async def bring(keystone: Keystone, tables: Tables, dry_run: bool = False) -> dict[str, Any]:
    return await importing.run(keystone.cloud, tables, dry_run=dry_run)


async def test_what_every_keystone_has_takes_the_place_of_ours(keystone: Keystone, tables: Tables) -> None:
    own = await keystone.make("user", name="dora", password="a password")
    await keystone.grant(own["id"], "member", f"projects/{(await keystone.make('project', name='hers'))['id']}")
    said = await bring(keystone, tables)
    assert any("admin.password" in note for note in said["notes"])
    answer = await keystone.ask(password_auth("admin", SECRET, on_project("admin")))
    token = answer.json()["token"]
    assert (token["user"]["id"], token["project"]["id"]) == ("their-admin-user", "their-admin-project")
    assert {role["id"] for role in token["roles"]} == {f"their-{name}" for name in ("admin", "manager", "member", "reader")}
    assert (await keystone.ask(password_auth("admin", keystone.password))).status_code == 401
    hers = (await keystone.ask(password_auth("dora", "a password", on_project("hers")))).json()["token"]
    assert {role["id"] for role in hers["roles"]} == {"their-member", "their-reader"}
    assert {service["id"] for service in hers["catalog"] if service["type"] == "identity"} == {"their-keystone"}


async def test_again_it_changes_nothing_even_after_a_sign_in_renewed_a_hash(keystone: Keystone, tables: Tables) -> None:
    await bring(keystone, tables)
    assert (await keystone.ask(password_auth("carol", SECRET, on_project("admin")))).status_code == 201
    renewed = await users.password_hash(keystone.cloud.db, "carol-id")
    again = await bring(keystone, tables)
    assert not again["brought"] and not again["differing"] and not again["conflicts"], again
    assert await users.password_hash(keystone.cloud.db, "carol-id") == renewed
    assert len(await users.old_passwords(keystone.cloud.db, "carol-id", 9)) == 1


async def test_what_was_changed_here_stays_as_it_is_and_is_named(keystone: Keystone, tables: Tables) -> None:
    await bring(keystone, tables)
    admin = keystone.client(await keystone.token("admin", SECRET, on_project("admin")))
    assert (await admin.patch("/v3/users/carol-id", json={"user": {"enabled": False}})).status_code == 200
    assert (await bring(keystone, tables))["differing"] == [{"kind": "user", "id": "carol-id", "columns": ["enabled"]}]
    carol = await users.find(keystone.cloud.db, "carol-id")
    assert carol is not None and not carol.enabled


async def test_a_name_that_is_anothers_stops_all_of_it(keystone: Keystone, tables: Tables) -> None:
    mine = await keystone.make("user", name="carol")
    with pytest.raises(Conflict, match=f"user carol .carol-id.: {mine['id']} has that name here"):
        await bring(keystone, tables)
    assert await projects.find(keystone.cloud.db, "their-admin-project") is None
    assert await roles.find(keystone.cloud.db, "their-admin") is None
    said = await bring(keystone, tables, dry_run=True)
    assert [conflict for conflict in said["conflicts"] if "carol" in conflict]


async def add_quota(tx: Transaction, project_id: str) -> None:
    await tx.insert(quota.limits, {"service": "compute", "project_id": project_id, "resource": "cores", "limit": 3})


async def test_our_project_stays_ours_once_it_owns_something(keystone: Keystone, tables: Tables) -> None:
    ours = await projects.find_named(keystone.cloud.db, "admin", "default")
    assert ours is not None
    await keystone.cloud.db.write(add_quota, ours.id)
    with pytest.raises(Conflict, match="project admin: ours has another id, .* owns quota_limits. Rename it"):
        await bring(keystone, tables)
    assert await tables_of(keystone.cloud.db, "project_id", ours.id, but="identity_") == ["quota_limits"]
    renamed = await keystone.admin.patch(f"/v3/projects/{ours.id}", json={"project": {"name": "moln-admin"}})
    assert renamed.status_code == 200
    await bring(keystone, tables)
    assert await projects.find(keystone.cloud.db, "their-admin-project") is not None


async def test_an_administrator_who_could_not_sign_in_takes_nobodys_place(keystone: Keystone, tables: Tables) -> None:
    tables["user"][0]["enabled"] = 0
    with pytest.raises(Conflict, match="take the place of our administrator"):
        await bring(keystone, tables)
    assert await keystone.token("admin", keystone.password)


async def test_what_names_something_that_is_gone_stays_behind_with_the_reason(keystone: Keystone, tables: Tables) -> None:
    tables["assignment"] += [grant("ghost", "their-admin-project", "their-reader"), grant("carol-id", "gone", "their-reader")]
    tables["user"] += [user("nameless"), user("lost", domain_id="gone")]
    tables["project"].append(project("orphan", "orphan", parent_id="gone"))
    tables["revocation_event"] = [{}, {}]
    left = {(item.kind, item.id): (item.why, item.count) for item in (await bring(keystone, tables))["left"]}
    assert left["assignment", "ghost"] == ("its user is not there or stays behind", 1)
    assert left["assignment", "carol-id"] == ("its project is not there", 1)
    assert "no name" in left["user", "nameless"][0] and "domain gone" in left["user", "lost"][0] and "gone" in left["project", "orphan"][0]
    assert left["revocation_event", ""][1] == 2


async def test_a_hash_of_another_kind_stays_behind_and_its_user_comes_without(keystone: Keystone, tables: Tables) -> None:
    tables["password"][1]["password_hash"] = "$1$md5$old"
    said = await bring(keystone, tables)
    assert ("secret of user", "carol-id") in {(item.kind, item.id) for item in said["left"]}
    assert (await keystone.ask(password_auth("carol", SECRET))).status_code == 401


async def test_limits_become_quotas(keystone: Keystone, tables: Tables) -> None:
    tables["service"].append({"id": "their-nova", "type": "compute", "enabled": 1, "extra": "{}"})
    of = {"region_id": None, "description": None}
    tables["registered_limit"] = [{"id": "r", "service_id": "their-nova", "resource_name": "servers", "default_limit": 9} | of]
    tables["limit"] = [{"id": "l", "registered_limit_id": "r", "project_id": "their-admin-project", "domain_id": None, "resource_limit": 4} | of]
    said = await bring(keystone, tables)
    assert (said["brought"]["limit"], said["brought"]["registered limit"]) == (1, 1)
    assert "quota_limits" in await tables_of(keystone.cloud.db, "project_id", "their-admin-project", but="identity_")
    assert LIMITS.name not in await tables_of(keystone.cloud.db, "project_id", "their-admin-project", but="identity_")


async def test_another_database_is_refused(keystone: Keystone) -> None:
    with pytest.raises(Invalid, match="no Keystone's database"):
        await bring(keystone, {"wp_posts": []})


async def test_users_and_groups_of_a_directory_keep_their_ids_and_assignments(keystone: Keystone, tables: Tables) -> None:
    ids = {kind: public_id("default", kind, name) for kind, name in (("user", "uid-7"), ("group", "staff"))}
    tables["id_mapping"] = [
        {"public_id": ids[kind], "domain_id": "default", "local_id": local_id, "entity_type": kind} for kind, local_id in (("user", "uid-7"), ("group", "staff"))
    ]
    tables["user"].append(user(ids["user"], default_project_id="their-admin-project"))
    tables["nonlocal_user"] = [{"user_id": ids["user"], "domain_id": "default", "name": "grace"}]
    tables["assignment"] += [grant(ids["user"], "their-admin-project", "their-reader"), grant(ids["group"], "their-admin-project", "their-member", "GroupProject")]
    said = await bring(keystone, tables)
    assert not said["left"] and said["brought"]["directory entry"] == 2
    admin = keystone.client(await keystone.token("admin", SECRET, on_project("admin")))
    grace = (await admin.get(f"/v3/users/{ids['user']}")).json()["user"]
    assert (grace["name"], grace["default_project_id"]) == ("grace", "their-admin-project")
    given = (await admin.get("/v3/role_assignments?scope.project.id=their-admin-project")).json()["role_assignments"]
    assert {ids["user"], ids["group"]} <= {found.get("user", found.get("group"))["id"] for found in given}
    entry = await directory.find(keystone.cloud.db, ids["user"])
    assert entry is not None and (entry.kind, entry.local_id) == ("user", "uid-7")
    assert not (await bring(keystone, tables))["brought"]
