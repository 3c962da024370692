"""Providers, what they have, and what they are."""

from __future__ import annotations

import uuid

ROOT = "11111111-1111-4111-8111-111111111111"
CHILD = "22222222-2222-4222-8222-222222222222"


async def make(placement, id=ROOT, name="node-1", parent=None):
    answer = await placement("POST", "/resource_providers", {"name": name, "uuid": id, "parent_provider_uuid": parent})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_provider_is_made_shown_renamed_and_removed(placement):
    made = await make(placement)
    assert made == (await placement("GET", f"/resource_providers/{ROOT}")).json()
    assert (made["generation"], made["root_provider_uuid"], made["parent_provider_uuid"]) == (0, ROOT, None)
    assert {link["rel"] for link in made["links"]} == {"self", "inventories", "usages", "aggregates", "traits", "allocations"}
    renamed = await placement("PUT", f"/resource_providers/{ROOT}", {"name": "node-9"})
    assert renamed.json()["name"] == "node-9"
    assert (await placement("DELETE", f"/resource_providers/{ROOT}")).status_code == 204
    assert (await placement("GET", f"/resource_providers/{ROOT}")).status_code == 404


async def test_old_versions_know_less(placement):
    await make(placement)
    old = await placement("GET", f"/resource_providers/{ROOT}", at="1.0")
    assert set(old.json()) == {"uuid", "name", "generation", "links"}
    assert [link["rel"] for link in old.json()["links"]] == ["self", "inventories", "usages"]
    assert "last-modified" not in old.headers
    assert (await placement("GET", f"/resource_providers/{ROOT}", at="1.15")).headers["cache-control"] == "no-cache"
    created = await placement("POST", "/resource_providers", {"name": "b"}, at="1.19")
    assert (created.status_code, created.content) == (201, b"")
    assert created.headers["location"].startswith("http://127.0.0.1:5000/placement/resource_providers/")
    assert (await placement("POST", "/resource_providers", {"name": "c", "parent_provider_uuid": ROOT}, at="1.13")).status_code == 400
    assert (await placement("GET", "/traits", at="1.5")).status_code == 404
    assert (await placement("GET", "/", at="1.40")).status_code == 406


async def test_names_and_ids_are_unique(placement):
    await make(placement)
    again = await placement("POST", "/resource_providers", {"name": "node-1"})
    assert (again.status_code, again.json()["errors"][0]["code"]) == (409, "placement.duplicate_name")
    assert again.json()["errors"][0]["detail"] == "Conflicting resource provider name: node-1 already exists."


async def test_only_administrators_and_services_may(placement):
    assert (await placement("GET", "/resource_providers", who="member")).status_code == 403
    assert (await placement("GET", "/resource_providers", who="service")).status_code == 200
    assert (await placement("GET", "/usages?project_id=demo", who="member")).status_code == 200
    assert (await placement("GET", "/usages?project_id=other", who="member")).status_code == 403


async def test_trees_grow_move_and_never_loop(placement):
    await make(placement)
    child = await make(placement, CHILD, "numa-0", ROOT)
    assert child["root_provider_uuid"] == ROOT
    gone = await placement("DELETE", f"/resource_providers/{ROOT}")
    assert (gone.status_code, gone.json()["errors"][0]["code"]) == (409, "placement.resource_provider.cannot_delete_parent")
    loop = await placement("PUT", f"/resource_providers/{ROOT}", {"name": "node-1", "parent_provider_uuid": CHILD})
    assert loop.status_code == 400
    frozen = await placement("PUT", f"/resource_providers/{CHILD}", {"name": "numa-0", "parent_provider_uuid": None}, at="1.36")
    assert frozen.status_code == 400
    free = await placement("PUT", f"/resource_providers/{CHILD}", {"name": "numa-0", "parent_provider_uuid": None})
    assert free.json()["root_provider_uuid"] == CHILD
    in_tree = await placement("GET", f"/resource_providers?in_tree={ROOT}")
    assert [p["uuid"] for p in in_tree.json()["resource_providers"]] == [ROOT]


async def test_inventories_change_only_under_the_generation_that_was_read(placement):
    await make(placement)
    url = f"/resource_providers/{ROOT}/inventories"
    put = await placement("PUT", url, {"resource_provider_generation": 0, "inventories": {"VCPU": {"total": 8, "allocation_ratio": 4.0}}})
    assert put.json()["inventories"]["VCPU"] == {
        "total": 8, "reserved": 0, "min_unit": 1, "max_unit": 2147483647, "step_size": 1, "allocation_ratio": 4.0}  # fmt: skip
    assert put.json()["resource_provider_generation"] == 1
    stale = await placement("PUT", f"{url}/VCPU", {"resource_provider_generation": 0, "total": 9})
    assert (stale.status_code, stale.json()["errors"][0]["code"]) == (409, "placement.concurrent_update")
    assert (await placement("PUT", f"{url}/VCPU", {"resource_provider_generation": 1, "total": 9})).json()["total"] == 9
    made = await placement("POST", url, {"resource_class": "DISK_GB", "total": 9})
    assert (made.status_code, made.json()["resource_provider_generation"]) == (201, 3)
    for bad in ({"total": 0}, {"total": 4, "reserved": 5}, {"total": 4, "wrong": 1}, {"total": True}, {"total": 2**40}):
        assert (await placement("PUT", f"{url}/VCPU", {"resource_provider_generation": 3, **bad})).status_code == 400
    assert (await placement("DELETE", url, at="1.4")).status_code == 405
    assert (await placement("DELETE", f"{url}/VCPU")).status_code == 204
    assert (await placement("GET", f"{url}/VCPU")).status_code == 404


async def test_what_is_in_use_stays(placement):
    await make(placement)
    url = f"/resource_providers/{ROOT}"
    await placement("PUT", f"{url}/inventories", {"resource_provider_generation": 0, "inventories": {"VCPU": {"total": 8}}})
    wish = {"allocations": {ROOT: {"resources": {"VCPU": 1}}}, "project_id": "p", "user_id": "u", "consumer_generation": None,
            "consumer_type": "INSTANCE"}  # fmt: skip
    assert (await placement("PUT", f"/allocations/{uuid.uuid4()}", wish)).status_code == 204
    for method, path, body, code in (
        ("DELETE", url, None, "placement.resource_provider.inuse"),
        ("DELETE", f"{url}/inventories", None, "placement.inventory.inuse"),
        ("DELETE", f"{url}/inventories/VCPU", None, "placement.concurrent_update"),
        ("PUT", f"{url}/inventories", {"resource_provider_generation": 2, "inventories": {}}, "placement.inventory.inuse"),
    ):
        answer = await placement(method, path, body)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (409, code), path


async def test_traits_and_aggregates_are_set_as_a_whole(placement):
    await make(placement)
    url = f"/resource_providers/{ROOT}"
    assert (await placement("PUT", "/traits/CUSTOM_FAST")).status_code == 201
    assert (await placement("PUT", "/traits/CUSTOM_FAST")).status_code == 204
    assert (await placement("PUT", "/traits/FAST")).status_code == 400
    put = await placement("PUT", f"{url}/traits", {"traits": ["CUSTOM_FAST", "HW_CPU_X86_VMX"], "resource_provider_generation": 0})
    assert put.json() == {"traits": ["CUSTOM_FAST", "HW_CPU_X86_VMX"], "resource_provider_generation": 1}
    assert (await placement("PUT", f"{url}/traits", {"traits": ["CUSTOM_NO"], "resource_provider_generation": 1})).status_code == 400
    assert (await placement("DELETE", "/traits/CUSTOM_FAST")).status_code == 409
    assert (await placement("GET", "/traits?name=startswith:CUSTOM_")).json() == {"traits": ["CUSTOM_FAST"]}
    aggregate = str(uuid.uuid4())
    put = await placement("PUT", f"{url}/aggregates", {"aggregates": [aggregate], "resource_provider_generation": 1})
    assert put.json() == {"aggregates": [aggregate], "resource_provider_generation": 2}
    assert (await placement("PUT", f"{url}/aggregates", [aggregate], at="1.1")).json() == {"aggregates": [aggregate]}
    assert (await placement("DELETE", f"{url}/traits")).status_code == 204


async def test_lists_filter_by_room_traits_and_aggregates(placement):
    await make(placement)
    await make(placement, CHILD, "node-2")
    aggregate = str(uuid.uuid4())
    await placement("PUT", f"/resource_providers/{ROOT}/aggregates", [aggregate], at="1.1")
    await placement("PUT", f"/resource_providers/{ROOT}/traits", {"traits": ["HW_CPU_X86_VMX"], "resource_provider_generation": 0})
    await placement("PUT", f"/resource_providers/{CHILD}/inventories", {
        "resource_provider_generation": 0, "inventories": {"VCPU": {"total": 8}}})  # fmt: skip

    async def names(query):
        answer = await placement("GET", f"/resource_providers?{query}")
        assert answer.status_code == 200, answer.text
        return [p["name"] for p in answer.json()["resource_providers"]]

    assert await names("resources=VCPU:8") == ["node-2"]
    assert await names("resources=VCPU:9") == []
    assert await names("required=HW_CPU_X86_VMX") == ["node-1"]
    assert await names("required=!HW_CPU_X86_VMX") == ["node-2"]
    assert await names("required=in:HW_CPU_X86_VMX,HW_CPU_X86_SVM") == ["node-1"]
    assert await names(f"member_of={aggregate}") == ["node-1"]
    assert await names(f"member_of=!{aggregate}") == ["node-2"]
    assert await names("name=node-2") == ["node-2"]
    for bad in ("resources=VCPU", "resources=NOPE:1", "required=NOPE", "wrong=1", "uuid=x", "member_of=x"):
        assert (await placement("GET", f"/resource_providers?{bad}")).status_code == 400, bad


async def test_resource_classes_can_be_added(placement):
    assert (await placement("PUT", "/resource_classes/CUSTOM_GPU")).status_code == 201
    assert (await placement("PUT", "/resource_classes/CUSTOM_GPU")).status_code == 204
    assert (await placement("POST", "/resource_classes", {"name": "CUSTOM_GPU"})).status_code == 409
    assert (await placement("PUT", "/resource_classes/GPU")).status_code == 400
    names = [c["name"] for c in (await placement("GET", "/resource_classes")).json()["resource_classes"]]
    assert names[0] == "VCPU" and names[-1] == "CUSTOM_GPU"
    assert (await placement("DELETE", "/resource_classes/VCPU")).status_code == 400
    assert (await placement("DELETE", "/resource_classes/CUSTOM_GPU")).status_code == 204
