"""What tests of volumes ask Cinder's API."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
from tests.wire.areas import AreaApi, authenticate

from moln.kernel.context import RequestContext

Client = httpx.AsyncClient
NOWHERE = str(uuid.uuid4())


async def post(client: Client, path: str, key: str, status: int = 202, **body: Any) -> Any:
    answer = await client.post(path, json={key: body})
    assert answer.status_code == status, answer.text
    return answer.json()[key] if answer.content else None


async def get(client: Client, path: str, key: str | None = None, **query: Any) -> Any:
    answer = await client.get(path, params=query or None)
    assert answer.status_code == 200, answer.text
    return answer.json()[key] if key else answer.json()


async def make(api: AreaApi, client: Client, **body: Any) -> dict[str, Any]:
    """A volume, settled."""
    made = await post(client, "/volumes", "volume", **({"size": 1} | body))
    await api.settle()
    found: dict[str, Any] = await get(client, f"/volumes/{made['id']}", "volume")
    return found


async def act(client: Client, volume_id: str, action: str, body: Any = None, status: int = 202) -> None:
    answer = await client.post(f"/volumes/{volume_id}/action", json={action: body})
    assert answer.status_code == status, answer.text


async def names(client: Client, **query: Any) -> list[str]:
    return [v["name"] for v in await get(client, "/volumes", "volumes", **query)]


async def context(api: AreaApi, token: str = "red/member") -> RequestContext:
    return RequestContext(api.cloud, "req-test", await authenticate(api.cloud, token), (3, 71))
