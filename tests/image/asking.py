"""What tests of images ask Glance's API."""

from __future__ import annotations

from typing import Any

import httpx

Client = httpx.AsyncClient
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
OCTETS = {"Content-Type": "application/octet-stream"}


async def make(client: Client, name: str = "disk", data: bytes | None = None, **more: Any) -> dict[str, Any]:
    answer = await client.post("/v2/images", json={"name": name, "disk_format": "raw", "container_format": "bare"} | more)
    assert answer.status_code == 201, answer.text
    image: dict[str, Any] = answer.json()
    if data is not None:
        put = await client.put(f"/v2/images/{image['id']}/file", content=data, headers=OCTETS)
        assert put.status_code == 204, put.text
        image = (await client.get(f"/v2/images/{image['id']}")).json()
    return image


async def names(client: Client, **query: Any) -> list[str]:
    answer = await client.get("/v2/images", params=query)
    assert answer.status_code == 200, answer.text
    return [i["name"] for i in answer.json()["images"]]
