"""No everyday request reads a whole table: what SQLite says that it will do for every statement of it."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from tests.identity.conftest import Keystone, Someone, on_project, password_auth, somebody, token_auth

POSTGRESQL = ""
MANY = ("identity_users", "identity_projects", "identity_groups", "identity_grants", "identity_memberships", "identity_credentials",
        "identity_application_credentials", "identity_trusts", "identity_limits", "identity_revocations")  # fmt: skip
"""Tables that grow with the cloud."""


class Plans:
    """Every statement that the requests' own reads run meanwhile."""

    def __init__(self, keystone: Keystone):
        self._reads: Any = keystone.cloud.db._reads  # type: ignore[attr-defined]
        self._path = keystone.cloud.home
        self.seen: list[str] = []

    def __enter__(self) -> Plans:
        self._reads._hook = lambda kind, text: self.seen.append(text) if kind == "sql" else None
        return self

    def __exit__(self, *_: object) -> None:
        self._reads._hook = None

    def whole(self, db: sqlite3.Connection) -> list[str]:
        """The steps that read a table from end to end, or sort a domain's part of it."""
        found = []
        for text in dict.fromkeys(self.seen):
            values = dict.fromkeys(_names(text))
            steps = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {text}", values)]
            bounded = "LIMIT" in text and not any("TEMP B-TREE" in step for step in steps)  # a page in the order of its rows
            found += [f"{step}: {text}" for step in steps if step.startswith("SCAN") and step.split()[1] in MANY and not bounded]
            if any("TEMP B-TREE FOR ORDER" in step for step in steps):  # sorting one user's rows is nothing, a domain's is
                found += [f"sorted, {step}: {text}" for step in steps if "(domain_id=?)" in step]
        return found


def _names(text: str) -> set[str]:
    return {word.strip(",()") [1:] for word in text.replace("(", " ( ").replace(")", " ) ").split() if word.startswith(":")}


@pytest.fixture
async def member(keystone: Keystone) -> Someone:
    """Who is in a group that has a role, too."""
    someone = await somebody(keystone, "anna", "one")
    group = await keystone.make("group", name="staff")
    assert (await keystone.admin.put(f"/v3/groups/{group['id']}/users/{someone.id}")).status_code == 204
    role = await keystone.role_id("reader")
    assert (await keystone.admin.put(f"/v3/projects/{someone.project_id}/groups/{group['id']}/roles/{role}")).status_code == 204
    return someone


LISTS = (
    "users?limit=2", "users?limit=2&marker={user}", "users?limit=2&sort_key=name", "users?limit=2&sort_key=name&marker={user}",
    "users?limit=2&sort_key=name&sort_dir=desc&marker={user}", "users?limit=2&domain_id=default", "users?limit=2&domain_id=default&marker={user}",
    "users?name=anna", "users?name=anna&domain_id=default", "users/{user}", "users/{user}/groups", "users/{user}/projects",
    "projects?limit=2", "projects?limit=2&marker={project}", "projects?name=one", "projects?limit=2&domain_id=default", "projects/{project}",
    "projects?parent_id={project}", "groups?limit=2", "groups?name=staff", "domains?name=Default",
    "role_assignments?user.id={user}", "role_assignments?effective&user.id={user}", "role_assignments?effective&user.id={user}&scope.project.id={project}",
    "role_assignments?scope.project.id={project}", "role_assignments?effective&scope.project.id={project}",
    "users/{user}/application_credentials", "credentials?user_id={user}", "limits?project_id={project}",
)  # fmt: skip


async def test_lists_begin_where_they_should(keystone: Keystone, member: Someone) -> None:
    db = sqlite3.connect(keystone.cloud.home / "cloud.db")
    for path in LISTS:
        with Plans(keystone) as plans:
            answer = await keystone.admin.get("/v3/" + path.format(user=member.id, project=member.project_id))
        assert answer.status_code == 200, answer.text
        assert plans.seen or "effective" in path, path
        assert not plans.whole(db), path
    db.close()


async def test_signing_in_and_being_known_reads_rows_by_their_keys(keystone: Keystone, member: Someone) -> None:
    db = sqlite3.connect(keystone.cloud.home / "cloud.db")
    with Plans(keystone) as plans:
        assert (await keystone.ask(password_auth("anna", member.password, on_project("one")))).status_code == 201
        assert (await keystone.ask(token_auth(member.token, on_project("one")))).status_code == 201
        assert (await keystone.ask(token_auth(member.token, "unscoped"))).status_code == 201
        assert (await keystone.client(member.token).get("/v3/auth/projects")).status_code == 200
    assert len(plans.seen) > 10
    assert not plans.whole(db)
    db.close()


def test_a_plan_that_reads_everything_is_noticed(tmp_path: Any) -> None:
    db = sqlite3.connect(tmp_path / "x.db")
    db.execute("CREATE TABLE identity_users (id TEXT UNIQUE, name TEXT)")
    plans = Plans.__new__(Plans)
    for text, bad in (("SELECT * FROM identity_users WHERE name = :n", True), ("SELECT id FROM identity_users WHERE id = :n", False),
                      ("SELECT * FROM identity_users ORDER BY name LIMIT 2", True), ("SELECT * FROM identity_users LIMIT 2", False)):  # fmt: skip
        plans.seen = [text]
        assert bool(plans.whole(db)) is bad, text
