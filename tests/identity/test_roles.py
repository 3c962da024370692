"""Roles, their implications and their assignments."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.identity.conftest import Keystone, Someone, password_auth

from moln.identity.model.roles import Grant
from moln.identity.ops.grants import create_in
from moln.kernel.errors import NotFound


async def roles_of(keystone: Keystone, alice: Someone, project_id: str) -> list[str]:
    answer = await keystone.ask(password_auth("alice", alice.password, {"project": {"id": project_id}}))
    return [role["name"] for role in answer.json()["token"]["roles"]] if answer.status_code == 201 else []


async def test_a_role_is_made_shown_changed_and_deleted(keystone: Keystone) -> None:
    made = await keystone.make("role", name="auditor", description="looks")
    path = f"/v3/roles/{made['id']}"
    assert made["domain_id"] is None and (await keystone.admin.get(path)).json()["role"] == made
    assert (await keystone.admin.patch(path, json={"role": {"name": "judge"}})).json()["role"]["name"] == "judge"
    assert (await keystone.admin.post("/v3/roles", json={"role": {"name": "judge"}})).status_code == 409
    assert (await keystone.admin.delete(path)).status_code == 204
    assert (await keystone.admin.get(path)).status_code == 404


async def test_the_clouds_own_roles_stay_as_they_are(keystone: Keystone) -> None:
    path = f"/v3/roles/{await keystone.role_id('reader')}"
    refused = await keystone.admin.delete(path)
    assert refused.status_code == 403 and "immutable" in refused.json()["error"]["message"]
    assert (await keystone.admin.patch(path, json={"role": {"name": "x"}})).status_code == 403


async def test_roles_imply_others_at_any_depth_but_never_in_a_circle(keystone: Keystone, alice: Someone) -> None:
    ids = {name: (await keystone.make("role", name=name))["id"] for name in ("a", "b", "c")}
    for prior, implied in (("a", "b"), ("b", "c")):
        made = await keystone.admin.put(f"/v3/roles/{ids[prior]}/implies/{ids[implied]}")
        assert made.status_code == 201
        assert made.json()["role_inference"]["implies"]["name"] == implied
    assert (await keystone.admin.put(f"/v3/roles/{ids['c']}/implies/{ids['a']}")).status_code == 400
    assert (await keystone.admin.put(f"/v3/roles/{ids['c']}/implies/{await keystone.role_id('admin')}")).status_code == 403
    await keystone.grant(alice.id, "a", f"projects/{alice.project_id}")
    assert await roles_of(keystone, alice, alice.project_id) == ["a", "b", "c", "member", "reader"]
    link = f"/v3/roles/{ids['a']}/implies/{ids['b']}"
    assert (await keystone.admin.head(link)).status_code == 204
    assert (await keystone.admin.get(link)).json()["role_inference"]["prior_role"]["name"] == "a"
    listed = (await keystone.admin.get(f"/v3/roles/{ids['a']}/implies")).json()["role_inference"]
    assert [r["name"] for r in listed["implies"]] == ["b"]
    every = (await keystone.admin.get("/v3/role_inferences")).json()["role_inferences"]
    assert {(i["prior_role"]["name"], i["implies"][0]["name"]) for i in every} == {
        ("admin", "manager"), ("manager", "member"), ("member", "reader"), ("a", "b"), ("b", "c"),
    }  # fmt: skip
    assert (await keystone.admin.delete(link)).status_code == 204
    assert (await keystone.admin.get(link)).status_code == 404
    assert await roles_of(keystone, alice, alice.project_id) == ["a", "member", "reader"]


async def test_a_domains_own_role_stands_for_what_it_implies_within_that_domain(keystone: Keystone, alice: Someone) -> None:
    domain = await keystone.make("domain", name="elsewhere")
    local = await keystone.make("role", name="helper", domain_id="default")
    foreign = await keystone.make("role", name="helper", domain_id=domain["id"])
    wide = await keystone.make("role", name="wide")
    await keystone.admin.put(f"/v3/roles/{local['id']}/implies/{wide['id']}")
    granted = f"/v3/projects/{alice.project_id}/users/{alice.id}/roles"
    assert (await keystone.admin.put(f"{granted}/{local['id']}")).status_code == 204
    assert (await keystone.admin.put(f"{granted}/{foreign['id']}")).status_code == 403
    assert await roles_of(keystone, alice, alice.project_id) == ["member", "reader", "wide"]
    assert [r["name"] for r in (await keystone.admin.get("/v3/roles?domain_id=default")).json()["roles"]] == ["helper"]
    assert "helper" not in [r["name"] for r in (await keystone.admin.get("/v3/roles")).json()["roles"]]


@pytest.mark.parametrize("target", ["projects", "domains", "system"])
@pytest.mark.parametrize("actor", ["users", "groups"])
async def test_assignments_are_given_checked_listed_and_taken(keystone: Keystone, alice: Someone, target: str, actor: str) -> None:
    group = await keystone.make("group", name="staff")
    where = {"projects": f"projects/{alice.project_id}", "domains": "domains/default", "system": "system"}[target]
    who = alice.id if actor == "users" else group["id"]
    role = (await keystone.make("role", name="auditor"))["id"]
    path = f"/v3/{where}/{actor}/{who}/roles"
    assert (await keystone.admin.head(f"{path}/{role}")).status_code == 404
    for _ in range(2):
        assert (await keystone.admin.put(f"{path}/{role}")).status_code == 204
    assert (await keystone.admin.get(f"{path}/{role}")).status_code == 204
    assert "auditor" in [r["name"] for r in (await keystone.admin.get(path)).json()["roles"]]
    assert (await keystone.admin.delete(f"{path}/{role}")).status_code == 204
    again = await keystone.admin.delete(f"{path}/{role}")
    assert again.status_code == 404 and again.json()["error"]["message"].startswith("Could not find role assignment with role: ")
    for wrong in (f"{path}/nothing", f"/v3/{where}/{actor}/nobody/roles/{role}"):
        assert (await keystone.admin.put(wrong)).status_code == 404
    if target != "system":
        assert (await keystone.admin.put(f"/v3/{target}/nowhere/{actor}/{who}/roles/{role}")).status_code == 404


async def test_inherited_assignments_hold_below_and_not_on_the_target(keystone: Keystone, alice: Someone) -> None:
    child = await keystone.make("project", name="child", parent_id=alice.project_id)
    role = (await keystone.make("role", name="auditor"))["id"]
    path = f"/v3/OS-INHERIT/projects/{alice.project_id}/users/{alice.id}/roles/{role}/inherited_to_projects"
    assert (await keystone.admin.put(path)).status_code == 204
    assert (await keystone.admin.head(path)).status_code == 204
    assert await roles_of(keystone, alice, child["id"]) == ["auditor"]
    assert await roles_of(keystone, alice, alice.project_id) == ["member", "reader"]
    assert (await keystone.admin.delete(path)).status_code == 204
    assert await roles_of(keystone, alice, child["id"]) == []
    domain = f"/v3/OS-INHERIT/domains/default/users/{alice.id}/roles/{role}/inherited_to_projects"
    assert (await keystone.admin.put(domain)).status_code == 204
    assert await roles_of(keystone, alice, child["id"]) == ["auditor"]
    own = keystone.client(alice.token)
    names = [p["name"] for p in (await own.get("/v3/auth/projects")).json()["projects"]]
    assert names == ["admin", "child", "red", "service"]


async def test_the_list_of_assignments_as_given(keystone: Keystone, alice: Someone) -> None:
    found = (await keystone.admin.get(f"/v3/role_assignments?user.id={alice.id}")).json()["role_assignments"]
    member = await keystone.role_id("member")
    assert found == [{
        "user": {"id": alice.id}, "role": {"id": member}, "scope": {"project": {"id": alice.project_id}},
        "links": {"assignment": "http://cloud.example:5000/identity/v3"
                                f"/projects/{alice.project_id}/users/{alice.id}/roles/{member}"},
    }]  # fmt: skip
    named = (await keystone.admin.get(f"/v3/role_assignments?user.id={alice.id}&include_names")).json()["role_assignments"][0]
    assert named["user"] == {"id": alice.id, "name": "alice", "domain": {"id": "default", "name": "Default"}}
    assert named["scope"]["project"]["name"] == "red" and named["role"]["name"] == "member"
    system = (await keystone.admin.get("/v3/role_assignments?scope.system=all")).json()["role_assignments"]
    assert [a["scope"] for a in system] == [{"system": {"all": True}}]
    assert (await keystone.admin.get(f"/v3/role_assignments?role.id={member}")).json()["role_assignments"] == found
    assert (await keystone.admin.get("/v3/role_assignments?scope.domain.id=default")).json()["role_assignments"] == []


async def test_the_list_of_assignments_as_they_amount_to(keystone: Keystone, alice: Someone) -> None:
    group = await keystone.make("group", name="staff")
    child = await keystone.make("project", name="child", parent_id=alice.project_id)
    await keystone.admin.put(f"/v3/groups/{group['id']}/users/{alice.id}")
    role = (await keystone.make("role", name="auditor"))["id"]
    path = f"/OS-INHERIT/projects/{alice.project_id}/groups/{group['id']}/roles/{role}/inherited_to_projects"
    assert (await keystone.admin.put(f"/v3{path}")).status_code == 204
    found = (await keystone.admin.get(f"/v3/role_assignments?effective&user.id={alice.id}")).json()["role_assignments"]
    by_role = {(a["role"]["id"], a["scope"]["project"]["id"]): a for a in found}
    assert set(by_role) == {
        (await keystone.role_id("member"), alice.project_id), (await keystone.role_id("reader"), alice.project_id),
        (role, child["id"]),
    }  # fmt: skip
    through = by_role[role, child["id"]]
    assert through["links"]["assignment"].endswith(path)
    assert through["links"]["membership"].endswith(f"/groups/{group['id']}/users/{alice.id}")
    assert through["scope"]["OS-INHERIT:inherited_to"] == "projects"
    one = f"/v3/role_assignments?effective&scope.project.id={child['id']}"
    assert [a["role"]["id"] for a in (await keystone.admin.get(one)).json()["role_assignments"]] == [role]
    tree = f"/v3/role_assignments?include_subtree&scope.project.id={alice.project_id}"
    assert len((await keystone.admin.get(tree)).json()["role_assignments"]) == 2


@pytest.mark.parametrize("query", ["user.id=a&group.id=b", "scope.project.id=a&scope.domain.id=b", "effective&group.id=a",
                                   "scope.system=all&scope.domain.id=a", "include_subtree"])  # fmt: skip
async def test_filters_that_exclude_each_other_are_400(keystone: Keystone, query: str) -> None:
    assert (await keystone.admin.get(f"/v3/role_assignments?{query}")).status_code == 400


async def test_members_give_nobody_anything(keystone: Keystone, alice: Someone) -> None:
    own = keystone.client(alice.token)
    admin = await keystone.role_id("admin")
    for where in (f"projects/{alice.project_id}", "domains/default", "system"):
        assert (await own.put(f"/v3/{where}/users/{alice.id}/roles/{admin}")).status_code == 403
    assert (await own.get("/v3/role_assignments")).status_code == 403
    assert (await own.post("/v3/roles", json={"role": {"name": "x"}})).status_code == 403


@pytest.mark.parametrize("gone", ["actor_id", "target_id", "role_id"])
async def test_nothing_is_given_on_what_vanished_meanwhile(keystone: Keystone, alice: Someone, gone: str) -> None:
    grant = Grant("user", alice.id, "project", alice.project_id, await keystone.role_id("reader"))
    with pytest.raises(NotFound):
        await keystone.cloud.db.write(create_in, replace(grant, **{gone: "gone"}))
