"""Every answer of the APIs' port says what a browser may make of it; with TLS, that it shall come back by TLS only."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from tests.conftest import Api

from moln.kernel.config import Settings
from moln.kernel.http.headers import DAY_S, YEAR_S, security_headers

ALWAYS = {"x-content-type-options": "nosniff", "content-security-policy": "default-src 'none'; frame-ancestors 'none'"}


async def test_every_kind_of_answer_has_them(api: Api) -> None:
    token = api.member.headers["X-Auth-Token"]
    answers = [
        await api.member.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": token}),
        await api.member.post("/compute/v2.1/os-keypairs", json={"keypair": {"name": "k"}}),
        await api.anonymous.get("/identity/v3"),
        await api.anonymous.get("/healthz"),
        await api.anonymous.get("/readyz"),
        await api.anonymous.get("/volume/v3/volumes"),
        await api.member.get("/network/v2.0/ports/no-such"),
        await api.member.post("/compute/v2.1/servers", content=b"{"),
        await api.member.delete("/compute/v2.1/flavors/detail"),
        await api.member.get("/compute/nowhere"),
        await api.anonymous.get("/"),
        await api.anonymous.get("/nowhere"),
        await api.anonymous.get("/compute/v2.1/%00"),
        await api.anonymous.request("BREW", "/compute/v2.1/servers"),
        await api.anonymous.options("/compute/v2.1/servers"),
    ]
    for answer in answers:
        assert ALWAYS.items() <= dict(answer.headers).items(), (answer.request.url, answer.headers)
        assert answer.headers["cache-control"] in ("no-store", "no-cache") and "server" not in answer.headers
        assert "strict-transport-security" not in answer.headers, "RFC 6797, 7.2: never without TLS"


async def test_pages_say_more(api: Api) -> None:
    """The pages of consoles, whether they are built or not (SEC-25 and SEC-43 look at what they say)."""
    for path in ("/console/vnc", "/console/no-such", "/console/files/no-such", "/console/stream"):
        answer = await api.anonymous.get(path)
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"], path
        assert answer.headers["referrer-policy"] == "no-referrer" and answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [(Settings(), None), (Settings(tls=True), DAY_S), (Settings(tls_certificate="/c.pem"), YEAR_S), (Settings(public_url="https://x"), None)],
)
def test_how_long_browsers_keep_to_tls(settings: Settings, seconds: int | None) -> None:
    said = security_headers(settings).get("strict-transport-security")
    assert said == (None if seconds is None else f"max-age={seconds}")


async def test_with_tls_every_answer_says_so(tmp_path: Path) -> None:
    from moln.app import compose, load_settings
    from moln.simulation import simulated_links

    app = compose(tmp_path, load_settings(tmp_path, simulate=True, tls=True), simulated_links)
    await app.set_up()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app.asgi), base_url="https://127.0.0.1:5000") as client:
        for path in ("/identity/v3", "/nowhere", "/healthz", "/console/vnc", "/volume/v3/volumes"):
            assert (await client.get(path)).headers["strict-transport-security"] == f"max-age={DAY_S}", path
    await app.stop()
