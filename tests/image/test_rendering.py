"""Lists come from what was rendered before, and are never older than the rows."""

from __future__ import annotations

import httpx
import pytest
from tests.image.asking import PATCH, make
from tests.wire.areas import AreaApi

from moln.image.api import images as api
from moln.image.ops import rendering


async def listed(client: httpx.AsyncClient, **query: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = (await client.get("/v2/images", params=query)).json()["images"]
    return found


async def test_a_list_is_what_each_image_says_of_itself(glance: AreaApi, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [await make(alice, f"i{n}", data=b"x" if n else None, tags=["one"], os_distro="debian") for n in range(3)]
    for _ in range(2):
        found = await listed(alice, sort="name:asc")
        assert found == [(await alice.get(image["self"])).json() for image in made]
    renderings: list[str] = []
    monkeypatch.setattr(api, "image_view", lambda image, view=api.image_view: renderings.append(image.id) or view(image))
    await listed(alice)
    assert renderings == [], "nothing changed"
    changes = [{"op": "replace", "path": "/name", "value": "changed"}, {"op": "add", "path": "/os_version", "value": "13"}]
    changed = await alice.patch(made[1]["self"], json=changes, headers=PATCH)
    assert changed.status_code == 200
    await alice.put(f"{made[2]['self']}/tags/two")
    await alice.delete(made[0]["self"])
    renderings.clear()
    found = await listed(alice, sort="created_at:asc")
    assert [(i["name"], i.get("os_version"), sorted(i["tags"])) for i in found] == [
        ("changed", "13", ["one"]),
        ("i2", None, ["one", "two"]),
    ]  # type: ignore[arg-type]
    assert sorted(renderings) == sorted(image["id"] for image in made[1:])


async def test_what_was_rendered_for_one_is_not_shown_to_another(glance: AreaApi, alice: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    private, shared, public = (
        await make(alice, "private", visibility="private"),
        await make(alice, "shared"),
        await make(alice, "community", visibility="community"),
    )
    assert {i["name"] for i in await listed(alice)} == {"private", "shared", "community"}
    assert await listed(bob) == []
    await alice.post(f"{shared['self']}/members", json={"member": "blue"})
    assert [i["name"] for i in await listed(bob, member_status="all", visibility="shared")] == ["shared"]
    assert [i["name"] for i in await listed(bob, visibility="community")] == ["community"]
    assert private["id"] in glance.cloud.areas[rendering.AREA] and public["id"] in glance.cloud.areas[rendering.AREA]


async def test_no_more_is_kept_than_the_bound(glance: AreaApi, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "KEPT", 2)
    for n in range(4):
        await make(alice, f"i{n}")
    assert len(await listed(alice)) == 4 and len(glance.cloud.areas[rendering.AREA]) == 2
    pages, answer = [], (await alice.get("/v2/images", params={"limit": 3})).json()
    while True:
        pages += [i["name"] for i in answer["images"]]
        if "next" not in answer:
            break
        answer = (await alice.get(answer["next"])).json()
    assert sorted(pages) == ["i0", "i1", "i2", "i3"]
