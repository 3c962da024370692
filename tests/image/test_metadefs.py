"""Metadata definitions as their clients see them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.image.conftest import Settings
from tests.wire.areas import AreaApi, areas

import moln.image.module as image_module

Client = httpx.AsyncClient
ROOT = "/v2/metadefs/namespaces"
DISK_BUS = {"title": "Disk Bus", "type": "string", "enum": ["virtio", "scsi"], "operators": ["<or>"], "default": "virtio", "minLength": 1}
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AreaApi]:
    settings = Settings(simulate=True)
    async with areas(tmp_path_factory.mktemp("metadefs"), settings, [image_module.module(settings)]) as api:
        yield api


@pytest.fixture
def admin(cloud: AreaApi) -> Client:
    return cloud.client("admin/admin", "/image")


@pytest.fixture
def alice(cloud: AreaApi) -> Client:
    return cloud.client("red/member", "/image")


async def made(admin: Client, name: str, **more: Any) -> dict[str, Any]:
    answer = await admin.post(ROOT, json={"namespace": name, "visibility": "public"} | more)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_namespace_is_made_with_all_that_it_holds(admin: Client, alice: Client) -> None:
    """As exported from another cloud: with what only that one said of the parts."""
    body = {
        "display_name": "Whole", "description": "d", "protected": True, "owner": "red",
        "resource_type_associations": [{"name": "OS::Glance::Image", "prefix": "hw_", "properties_target": "image"}],
        "objects": [{"name": "cpu", "description": "x", "required": ["cores"], "properties": {"cores": {"title": "C", "type": "integer", "minimum": 1}},
                     "created_at": "2020-01-01T00:00:00Z", "self": "/x"}],
        "properties": {"disk_bus": DISK_BUS}, "tags": [{"name": "fast"}, {"name": "new"}],
    }  # fmt: skip
    answer = await made(admin, "Whole", **body)
    assert (answer["self"], answer["schema"], answer["owner"]) == (f"{ROOT}/Whole", "/v2/schemas/metadefs/namespace", "red")
    shown = (await alice.get(f"{ROOT}/Whole")).json()
    assert shown["properties"] == {"disk_bus": DISK_BUS}
    assert shown["tags"] == [{"name": "fast"}, {"name": "new"}]
    assert shown["objects"][0]["properties"]["cores"] == {"title": "C", "type": "integer", "minimum": 1}
    assert shown["objects"][0]["self"] == f"{ROOT}/Whole/objects/cpu"
    there = (await alice.get(f"{ROOT}/Whole", params={"resource_type": "OS::Glance::Image"})).json()
    assert list(there["properties"]) == ["hw_disk_bus"] and there["objects"][0]["required"] == ["hw_cores"]
    assert list(there["objects"][0]["properties"]) == ["hw_cores"]
    one = f"{ROOT}/Whole/properties"
    assert (await alice.get(f"{one}/hw_disk_bus", params={"resource_type": "OS::Glance::Image"})).json() == DISK_BUS | {"name": "disk_bus"}
    assert (await alice.get(f"{one}/disk_bus", params={"resource_type": "OS::Glance::Image"})).status_code == 404
    assert (await alice.get(f"{one}/hw_disk_bus", params={"resource_type": "OS::Nova::Server"})).status_code == 404
    for path in ("", "/objects/cpu", "/objects", "/tags/fast", "/properties"):
        assert (await admin.delete(f"{ROOT}/Whole{path}")).status_code == 403, f"{path}: it is protected"
    whole = {"namespace": "Whole2", "visibility": "private", "owner": "red"}
    assert (await admin.put(f"{ROOT}/Whole", json=whole)).json()["namespace"] == "Whole2"
    assert (await alice.get(f"{ROOT}/Whole2")).json()["tags"] == shown["tags"], "what it holds goes with its name"
    assert (await admin.delete(f"{ROOT}/Whole2")).status_code == 204
    assert (await alice.get(f"{ROOT}/Whole2")).status_code == 404
    types = (await alice.get("/v2/metadefs/resource_types")).json()["resource_types"]
    assert "OS::Glance::Image" in [t["name"] for t in types]


async def test_who_sees_and_who_writes(cloud: AreaApi, admin: Client, alice: Client) -> None:
    bob = cloud.client("blue/member", "/image")
    await made(admin, "Secret", visibility="private", owner="red")
    await made(admin, "Open")
    assert (await bob.get(f"{ROOT}/Secret")).status_code == 404
    assert (await alice.get(f"{ROOT}/Secret")).status_code == 200
    assert "Secret" not in [n["namespace"] for n in (await bob.get(ROOT)).json()["namespaces"]]
    assert "Secret" in [n["namespace"] for n in (await alice.get(ROOT)).json()["namespaces"]]
    assert (await bob.get(f"{ROOT}/Secret/tags")).status_code == 404
    writes: list[tuple[str, str, Any]] = [
        ("POST", "", {"namespace": "Mine"}), ("PUT", "/Open", {"namespace": "Open"}), ("DELETE", "/Open", None),
        ("POST", "/Open/objects", {"name": "o"}), ("POST", "/Open/properties", {"name": "p", "title": "P", "type": "string"}),
        ("POST", "/Open/tags", {"tags": []}), ("POST", "/Open/tags/t", None), ("POST", "/Open/resource_types", {"name": "r"}),
        ("DELETE", "/Open/objects", None), ("DELETE", "/Open/properties", None), ("DELETE", "/Open/tags", None),
        ("DELETE", "/Open/tags/t", None), ("PUT", "/Open/objects/o", {"name": "o"}), ("DELETE", "/Open/resource_types/r", None),
    ]  # fmt: skip
    for method, path, body in writes:
        assert (await bob.request(method, ROOT + path, json=body)).status_code == 403, (method, path)
    reader = cloud.client("red/reader", "/image")
    assert (await reader.get(ROOT)).status_code == 200


PARTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "objects": ({"name": "a", "description": "d"}, {"name": "b", "properties": {"p": {"title": "P", "type": "array", "items": {"type": "string"}}}}),
    "properties": ({"name": "a"} | DISK_BUS, {"name": "b", "title": "B", "type": "number", "minimum": 0.5}),
    "tags": ({"name": "a"}, {"name": "b"}),
}


@pytest.mark.parametrize("kind", PARTS)
async def test_a_part_lives(admin: Client, alice: Client, kind: str) -> None:
    space = f"{ROOT}/Parts-{kind}"
    await made(admin, f"Parts-{kind}")
    first, second = PARTS[kind]
    where = f"{space}/tags/a" if kind == "tags" else f"{space}/{kind}"
    made_it = await admin.post(where, json=first)
    assert made_it.status_code == 201 and first.items() <= made_it.json().items()
    assert (await admin.post(where, json=first)).status_code == 409
    assert first.items() <= (await alice.get(f"{space}/{kind}/a")).json().items()
    changed = await admin.put(f"{space}/{kind}/a", json=second)
    assert changed.status_code == 200 and second.items() <= changed.json().items()
    assert (await alice.get(f"{space}/{kind}/a")).status_code == 404
    assert (await admin.put(f"{space}/{kind}/a", json=second)).status_code == 404
    assert (await admin.post(where, json=first)).status_code == 201
    assert (await admin.put(f"{space}/{kind}/a", json=second)).status_code == 409
    listed = (await alice.get(f"{space}/{kind}")).json()[kind]
    assert sorted(listed if kind == "properties" else [item["name"] for item in listed]) == ["a", "b"]
    assert (await admin.delete(f"{space}/{kind}/a")).status_code == 204
    assert (await admin.delete(f"{space}/{kind}/a")).status_code == 404
    assert (await admin.delete(f"{space}/{kind}")).status_code == 204
    assert not (await alice.get(f"{space}/{kind}")).json()[kind]


async def test_tags_by_the_dozen_and_pages(admin: Client, alice: Client) -> None:
    await made(admin, "Tags")
    tags = f"{ROOT}/Tags/tags"
    body = {"tags": [{"name": n} for n in ("a", "b", "c")]}
    assert (await admin.post(tags, json=body)).json() == body
    assert (await admin.post(tags, json={"tags": [{"name": "d"}]}, headers={"X-Openstack-Append": "True"})).status_code == 201
    page = {"sort_key": "name", "sort_dir": "asc", "limit": "2"}
    assert (await alice.get(tags, params=page)).json() == {"tags": [{"name": "a"}, {"name": "b"}]}
    assert (await alice.get(tags, params=page | {"marker": "b"})).json() == {"tags": [{"name": "c"}, {"name": "d"}]}
    assert (await alice.get(tags, params={"marker": "nothing"})).status_code == 400
    assert (await admin.post(tags, json={"tags": [{"name": "e"}, {"name": "e"}]})).status_code == 409
    assert len((await alice.get(tags)).json()["tags"]) == 4, "what fails changes nothing"
    assert (await admin.post(tags, json={"tags": [{"name": "e"}]})).status_code == 201
    assert (await alice.get(tags)).json() == {"tags": [{"name": "e"}]}


async def test_resource_types_are_associated(admin: Client, alice: Client) -> None:
    await made(admin, "Typed")
    body = {"name": "OS::Nova::Flavor", "prefix": "hw:"}
    assert body.items() <= (await admin.post(f"{ROOT}/Typed/resource_types", json=body)).json().items()
    assert (await admin.post(f"{ROOT}/Typed/resource_types", json=body)).status_code == 409
    [found] = (await alice.get(f"{ROOT}/Typed/resource_types")).json()["resource_type_associations"]
    assert body.items() <= found.items() and found["created_at"].endswith("Z")
    spaces = (await alice.get(ROOT, params={"resource_types": "OS::Nova::Flavor,x"})).json()["namespaces"]
    assert [n["namespace"] for n in spaces] == ["Typed"]
    assert spaces[0]["resource_type_associations"][0]["prefix"] == "hw:"
    assert (await admin.delete(f"{ROOT}/Typed/resource_types/OS::Nova::Flavor")).status_code == 204
    assert (await admin.delete(f"{ROOT}/Typed/resource_types/OS::Nova::Flavor")).status_code == 404


async def test_namespaces_come_in_pages(admin: Client, alice: Client) -> None:
    names = [f"Page{n}" for n in range(3)]
    for name in names:
        await made(admin, name)
    first = (await alice.get(ROOT, params={"sort_key": "namespace", "sort_dir": "desc", "limit": 1, "visibility": "public"})).json()
    second = (await alice.get(first["next"])).json()
    assert first["namespaces"][0]["namespace"] > second["namespaces"][0]["namespace"]
    for wrong in ("sort_key=owner", "sort_dir=up", "limit=x", "limit=-1", "visibility=shared", "marker=absent"):
        assert (await alice.get(f"{ROOT}?{wrong}")).status_code == 400, wrong


BAD: list[tuple[str, Any, int]] = [
    ("", {}, 400), ("", {"namespace": "x" * 81}, 400), ("", {"namespace": "x", "visibility": "shared"}, 400), ("", {"namespace": "x", "odd": 1}, 400),
    ("", {"namespace": "x", "self": "/x"}, 403), ("", {"namespace": "Bad"}, 409), ("", {"namespace": "x", "properties": {"p": {"type": "string"}}}, 400),
    ("/Bad/objects", {"description": "x"}, 400), ("/Bad/objects", {"name": "x", "created_at": "x"}, 403),
    ("/Bad/objects", {"name": "x", "properties": {"p": {"title": "P", "type": "odd"}}}, 400),
    ("/Bad/properties", {"title": "x", "type": "string"}, 400), ("/Bad/properties", {"name": "x", "title": "x", "type": "string", "odd": 1}, 400),
    ("/Bad/properties", {"name": "x", "title": "x", "type": "string", "maxLength": -1}, 400),
    ("/Bad/tags", {"tags": [{}]}, 400), ("/Bad/tags", {"tags": [{"name": "a", "odd": 1}]}, 400), ("/Bad/tags/" + "x" * 81, None, 400),
    ("/Bad/resource_types", {"prefix": "x"}, 400), ("/Absent/objects", {"name": "x"}, 404), ("/Absent/tags/x", None, 404),
]  # fmt: skip


async def test_what_is_wrong_is_refused(admin: Client) -> None:
    await made(admin, "Bad")
    for path, body, status in BAD:
        answer = await admin.post(ROOT + path, json=body)
        assert answer.status_code == status, (path, body, answer.text)


async def test_schemas(alice: Client) -> None:
    for name in ("namespace", "object", "property", "tag"):
        for schema in (name, "properties" if name == "property" else f"{name}s"):
            assert (await alice.get(f"/v2/schemas/metadefs/{schema}")).json()["name"] == schema
    assert (await alice.get("/v2/schemas/metadefs/resource_type")).json()["name"] == "resource_type_association"
    assert (await alice.get("/v2/schemas/metadefs/resource_types")).json()["name"] == "resource_type_associations"


async def test_a_cloud_begins_with_a_catalogue_that_its_operator_may_change(cloud: AreaApi, admin: Client, alice: Client) -> None:
    found = (await alice.get(f"{ROOT}/OS::Compute::Image")).json()
    assert found["properties"]["hw_firmware_type"]["enum"] == ["bios", "uefi"]
    there = (await alice.get(f"{ROOT}/OS::Glance::Signatures", params={"resource_type": "OS::Glance::Image"})).json()["properties"]
    assert "img_signature" in there
    body = {name: found[name] for name in ("namespace", "visibility")} | {"protected": False}
    assert (await admin.put(f"{ROOT}/OS::Compute::Image", json=body)).status_code == 200
    assert (await admin.delete(f"{ROOT}/OS::Compute::Image")).status_code == 204
    [module] = cloud.modules
    assert module.setup is not None
    old, web = cloud.cloud.areas["image"], cloud.cloud.areas["image-web"]
    await module.setup(cloud.cloud)
    await old.stop()
    await web.stop()
    assert (await alice.get(f"{ROOT}/OS::Compute::Image")).status_code == 404, "it does not come back"
    assert (await alice.get(f"{ROOT}/OS::OperatingSystem")).status_code == 200
