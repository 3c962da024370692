"""SEC-23 (OSSA-2015-005, CVE-2015-0259): a page of another origin does not reach a console, not even with its token."""

from __future__ import annotations

import pytest
from tests.compute.consoles import Consoles, consoles, hear, pages, world  # noqa: F401 (fixtures)
from websockets.exceptions import InvalidStatus

FOREIGN = [
    "https://evil.example", "http://127.0.0.1:5001", "https://127.0.0.1:5000", "http://127.0.0.1", "null", "", "http://127.0.0.1:5000.evil.example",
    "http://127.0.0.1:5000@evil.example", "http://evil.example/http://127.0.0.1:5000", "http://localhost:5000", "file://", "http://[::1", "http://127.0.0.1:99999",
]  # fmt: skip


async def test_a_foreign_origin_is_refused_and_uses_nothing_up(consoles: Consoles) -> None:  # noqa: F811
    url = await consoles.url()
    for origin in FOREIGN:
        with pytest.raises(InvalidStatus) as refused:
            await consoles.connect(url, additional_headers={"Origin": origin})
        assert refused.value.response.status_code == 403, origin
    async with consoles.connect(url, additional_headers={"Origin": "http://127.0.0.1:5000"}) as ws:
        await hear(ws, b"login: ")


async def test_what_the_request_says_of_its_host_counts_for_nothing(consoles: Consoles) -> None:  # noqa: F811
    with pytest.raises(InvalidStatus) as refused:
        await consoles.connect(await consoles.url(), host="evil.example", additional_headers={"Origin": "http://evil.example"})
    assert refused.value.response.status_code == 403


async def test_no_other_path_becomes_a_websocket(consoles: Consoles) -> None:  # noqa: F811
    for path in ("compute/v2.1/servers", "console/vnc", "console/files/vnc.js", "", "nowhere", "compute/nowhere", "identity/v3/auth/tokens"):
        with pytest.raises(InvalidStatus) as refused:
            await consoles.connect(f"http://x/?path={path}")
        assert 400 <= refused.value.response.status_code < 500, path
