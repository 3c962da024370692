"""Domains, projects and their tags."""

from __future__ import annotations

from typing import Any

import pytest
from tests.identity.conftest import DEFAULT, Keystone, Someone, on_project


async def test_a_project_is_made_in_the_callers_domain_and_found_again(keystone: Keystone) -> None:
    made = await keystone.make("project", name="red", description="R", tags=["a"], colour="crimson")
    assert made["domain_id"] == made["parent_id"] == "default" and made["colour"] == "crimson"
    assert made["links"]["self"] == f"http://cloud.example:5000/identity/v3/projects/{made['id']}"
    assert (await keystone.admin.get(f"/v3/projects/{made['id']}")).json()["project"] == made
    changed = await keystone.admin.patch(f"/v3/projects/{made['id']}", json={"project": {"name": "blue", "size": 3}})
    assert changed.json()["project"] | {"name": "red"} == made | {"size": 3}
    assert (await keystone.admin.delete(f"/v3/projects/{made['id']}")).status_code == 204
    gone = await keystone.admin.get(f"/v3/projects/{made['id']}")
    assert gone.status_code == 404
    assert gone.json()["error"]["message"] == f"Could not find project: {made['id']}."


async def test_two_projects_of_a_domain_have_two_names(keystone: Keystone) -> None:
    await keystone.make("project", name="red")
    twin = await keystone.admin.post("/v3/projects", json={"project": {"name": "red"}})
    assert twin.status_code == 409
    assert twin.json()["error"]["message"].startswith("Conflict occurred attempting to store project - it is not permitted")
    domain = await keystone.make("domain", name="elsewhere")
    await keystone.make("project", name="red", domain_id=domain["id"])
    other = await keystone.make("project", name="blue")
    renamed = await keystone.admin.patch(f"/v3/projects/{other['id']}", json={"project": {"name": "red"}})
    assert renamed.status_code == 409


async def test_projects_form_a_tree_of_bounded_depth(keystone: Keystone) -> None:
    top = above = await keystone.make("project", name="p0")
    ids = [top["id"]]
    for level in range(1, 5):
        above = await keystone.make("project", name=f"p{level}", parent_id=above["id"])
        ids.append(above["id"])
    deeper = await keystone.admin.post("/v3/projects", json={"project": {"name": "p5", "parent_id": above["id"]}})
    assert deeper.status_code == 403
    shown = (await keystone.admin.get(f"/v3/projects/{ids[2]}?parents_as_ids&subtree_as_ids")).json()["project"]
    assert shown["parents"] == {ids[1]: {ids[0]: {"default": None}}}
    assert shown["subtree"] == {ids[3]: {ids[4]: None}}
    listed = (await keystone.admin.get(f"/v3/projects/{ids[2]}?subtree_as_list")).json()["project"]
    assert [p["project"]["id"] for p in listed["subtree"]] == ids[3:]
    assert (await keystone.admin.get(f"/v3/projects/{ids[2]}?subtree_as_list&subtree_as_ids")).status_code == 400
    assert (await keystone.admin.delete(f"/v3/projects/{top['id']}")).status_code == 403
    closed = await keystone.admin.patch(f"/v3/projects/{top['id']}", json={"project": {"enabled": False}})
    assert closed.status_code == 403


async def test_a_child_lies_in_its_parents_domain(keystone: Keystone) -> None:
    domain = await keystone.make("domain", name="elsewhere")
    parent = await keystone.make("project", name="parent", domain_id=domain["id"])
    child = await keystone.make("project", name="child", parent_id=parent["id"])
    assert child["domain_id"] == domain["id"]
    for place in ({"domain_id": "default", "parent_id": parent["id"]}, {"parent_id": "nowhere"}, {"domain_id": "nowhere"}):
        wrong = await keystone.admin.post("/v3/projects", json={"project": {"name": "wrong"} | place})
        assert wrong.status_code == 400


@pytest.mark.parametrize(
    "project",
    [{}, {"name": ""}, {"name": " "}, {"name": "x" * 65}, {"name": 3}, {"name": "x", "enabled": "yes"}, {"name": "x", "tags": "a"},
     {"name": "x", "tags": ["a/b"]}, {"name": "x", "tags": ["t" + str(n) for n in range(81)]}, {"name": "x", "domain_id": "/"},
     {"name": "x", "description": 3}, {"name": "x", "big": "x" * 70_000}, None, [], "x"],
)  # fmt: skip
async def test_a_malformed_project_is_400(keystone: Keystone, project: Any) -> None:
    answer = await keystone.admin.post("/v3/projects", json={"project": project})
    assert answer.status_code == 400, answer.text
    assert (await keystone.admin.post("/v3/projects", json=project)).status_code == 400


async def test_what_cannot_change_does_not(keystone: Keystone) -> None:
    made = await keystone.make("project", name="red")
    for change in ({"parent_id": "x"}, {"domain_id": "x"}, {"is_domain": True}, {"id": "x"}, {}):
        answer = await keystone.admin.patch(f"/v3/projects/{made['id']}", json={"project": change})
        assert answer.status_code == 400, change


async def test_lists_are_filtered_and_paged(keystone: Keystone) -> None:
    for n in range(5):
        await keystone.make("project", name=f"p{n}", enabled=n % 2 == 0, tags=[f"t{n}", "all"])

    async def names(query: str) -> list[str]:
        answer = await keystone.admin.get(f"/v3/projects?{query}")
        assert answer.status_code == 200, answer.text
        return [p["name"] for p in answer.json()["projects"]]

    assert await names("name=p3") == ["p3"]
    assert await names("enabled=false") == ["p1", "p3"]
    assert await names("parent_id=default") == ["admin", "service", "p0", "p1", "p2", "p3", "p4"]
    assert await names("tags=all,t2") == ["p2"]
    assert await names("tags-any=t1,t4") == ["p1", "p4"]
    assert await names("tags=all&not-tags-any=t1,t2") == ["p0", "p3", "p4"]
    assert await names("is_domain=true") == ["Default"]
    assert await names("domain_id=nowhere") == []
    first = (await keystone.admin.get("/v3/projects?limit=4")).json()
    assert first["links"]["next"].startswith("http://cloud.example:5000/identity/v3/projects?limit=4&marker=")
    second = (await keystone.admin.get("/v3/projects?" + first["links"]["next"].partition("?")[2])).json()
    assert [p["name"] for p in first["projects"] + second["projects"]] == ["admin", "service", "p0", "p1", "p2", "p3", "p4"]
    assert second["links"]["next"] is None
    for bad in ("limit=x", "limit=-1", "marker=nowhere", "sort_key=extra"):
        assert (await keystone.admin.get(f"/v3/projects?{bad}")).status_code == 400


async def test_tags(keystone: Keystone) -> None:
    made = await keystone.make("project", name="red")
    tags = f"/v3/projects/{made['id']}/tags"
    assert (await keystone.admin.put(tags, json={"tags": ["a", "b"]})).json()["tags"] == ["a", "b"]
    assert (await keystone.admin.put(f"{tags}/c")).status_code == 201
    assert (await keystone.admin.get(f"{tags}/c")).status_code == 204
    assert (await keystone.admin.delete(f"{tags}/a")).status_code == 204
    assert (await keystone.admin.get(f"{tags}/a")).status_code == 404
    assert (await keystone.admin.get(tags)).json()["tags"] == ["b", "c"]
    assert (await keystone.admin.put(tags, json={"tags": ["a", "a"]})).status_code == 400
    assert (await keystone.admin.delete(tags)).status_code == 204
    assert (await keystone.admin.get(tags)).json()["tags"] == []


async def test_a_domain_is_disabled_and_then_deleted_with_all_that_it_owns(keystone: Keystone) -> None:
    domain = await keystone.make("domain", name="elsewhere")
    user = await keystone.make("user", name="eve", domain_id=domain["id"], password="a password")
    project = await keystone.make("project", name="p", domain_id=domain["id"])
    group = await keystone.make("group", name="g", domain_id=domain["id"])
    role = await keystone.make("role", name="local", domain_id=domain["id"])
    path = f"/v3/domains/{domain['id']}"
    refused = await keystone.admin.delete(path)
    assert refused.status_code == 403
    assert refused.json()["error"]["message"] == "Cannot delete a domain that is enabled, please disable it first."
    assert (await keystone.admin.patch(path, json={"domain": {"enabled": False}})).status_code == 200
    assert (await keystone.admin.delete(path)).status_code == 204
    for kind, thing in (("users", user), ("projects", project), ("groups", group), ("roles", role), ("domains", domain)):
        assert (await keystone.admin.get(f"/v3/{kind}/{thing['id']}")).status_code == 404
    assert (await keystone.admin.post("/v3/domains", json={"domain": {"name": "Default"}})).status_code == 409


async def test_members_see_their_own_project_only(keystone: Keystone, alice: Someone) -> None:
    own = keystone.client(alice.token)
    assert (await own.get(f"/v3/projects/{alice.project_id}")).status_code == 200
    other = await keystone.make("project", name="blue")
    for path in (f"/v3/projects/{other['id']}", "/v3/projects/nowhere", "/v3/projects", "/v3/domains"):
        refused = await own.get(path)
        assert refused.status_code == 403, path
    assert refused.json()["error"] == {
        "code": 403, "title": "Forbidden",
        "message": "You are not authorized to perform the requested action: identity:list_domains.",
    }  # fmt: skip
    assert (await own.post("/v3/projects", json={"project": {"name": "mine"}})).status_code == 403
    assert (await own.get("/v3/domains/default")).status_code == 200


async def test_a_domains_manager_manages_that_domain_only(keystone: Keystone) -> None:
    domain = await keystone.make("domain", name="shop")
    user = await keystone.make("user", name="mia", password="a password", domain_id=domain["id"])
    await keystone.grant(user["id"], "manager", f"domains/{domain['id']}")
    who = {"methods": ["password"], "password": {"user": {"id": user["id"], "password": "a password"}}}
    answer = await keystone.ask({"auth": {"identity": who, "scope": {"domain": {"id": domain["id"]}}}})
    mia = keystone.client(answer.headers["X-Subject-Token"])
    made = await mia.post("/v3/projects", json={"project": {"name": "till"}})
    assert made.status_code == 201 and made.json()["project"]["domain_id"] == domain["id"]
    assert [p["name"] for p in (await mia.get("/v3/projects")).json()["projects"]] == ["till"]
    assert [u["name"] for u in (await mia.get("/v3/users")).json()["users"]] == ["mia"]
    assert [d["name"] for d in (await mia.get("/v3/domains")).json()["domains"]] == ["shop"]
    assert (await mia.post("/v3/projects", json={"project": {"name": "x", "domain_id": "default"}})).status_code == 403
    assert (await mia.post("/v3/users", json={"user": {"name": "x", "domain_id": "default"}})).status_code == 403
    hired = await mia.post("/v3/users", json={"user": {"name": "joe"}})
    assert hired.status_code == 201 and hired.json()["user"]["domain_id"] == domain["id"]
    given = f"/v3/projects/{made.json()['project']['id']}/users/{hired.json()['user']['id']}/roles/"
    assert (await mia.put(given + await keystone.role_id("member"))).status_code == 204
    assert (await mia.put(given + await keystone.role_id("admin"))).status_code == 403


async def test_scopes_by_name_use_the_domain_by_name_too(keystone: Keystone) -> None:
    scope = {"project": {"name": "admin", "domain": {"name": "Default"}}}
    assert await keystone.token("admin", keystone.password, scope)
    assert on_project("admin")["project"]["domain"] == DEFAULT
