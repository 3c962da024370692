"""SEC-25 (OSSA-2020-001, OSSA-2021-002; CVE-2015-9543, CVE-2021-3654): a console's token is in no log and no database; the pages redirect nobody."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from pathlib import Path

import httpx
import pytest
from tests.compute.consoles import Consoles, consoles, hear, pages, token_of, world  # noqa: F401 (fixtures)
from tests.conftest import Api
from websockets.exceptions import InvalidStatus

from moln.kernel import log

OURS = "http://127.0.0.1:5000/"  # identity's list of versions says where it is, whatever was asked
HOSTILE = [
    "//evil.example/%2e%2e", "//evil.example/..", "/console//evil.example/%2e%2e", "/console/%2e%2e/%2e%2e/etc/passwd", "/console/files/../../library.py",
    "/console/files/%2e%2e/%2e%2e/build.py", "/console/files//etc/passwd", "/console/files/novnc/../../../etc/passwd", "/console/..%2fvnc", "/console/vnc/",
    "/console/http://evil.example", "/console/files/%5c%5cevil.example", "/console/vnc%0d%0aLocation:%20//evil.example", "/console/vnc%00.html",
]  # fmt: skip


async def test_a_token_is_in_no_log(
    consoles: Consoles,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = io.StringIO()
    monkeypatch.setattr(log._access, "stream", lines)
    caplog.set_level(logging.DEBUG)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # as the controller has it
    formatter = log.JsonLines()
    urls = [await consoles.url(), await consoles.url("vnc", "novnc")]
    transport = httpx.AsyncHTTPTransport(uds=str(consoles.socket))
    async with httpx.AsyncClient(transport=transport) as browser:
        for url in urls:
            assert (await browser.get(url)).status_code == 200
    for url in urls:
        with pytest.raises(InvalidStatus):
            await consoles.connect(url, additional_headers={"Origin": f"http://evil.example/?token={token_of(url)}"})
        async with consoles.connect(url):
            pass
        with pytest.raises(InvalidStatus):
            await consoles.connect(url)
    urls.append(await consoles.url())
    await consoles.world.call("GET", f"/os-console-auth-tokens/{token_of(urls[-1])}", 200, version="2.31", admin=True)
    log._access.write()
    tokens = [token_of(url) for url in urls]
    written = "\n".join(formatter.format(r) for r in caplog.records if not r.name.startswith(("websockets", "httpx", "httpcore", "asyncio")))
    written += "".join(capfd.readouterr()) + lines.getvalue()
    assert "console of server" in written and "os-console-auth-tokens/***" in written
    assert not [token for token in tokens if token in written]


async def test_a_token_in_a_path_or_query_is_redacted_wherever_it_is_written() -> None:
    for text in ("GET /console/stream?token=abcDEF-123_x", "path=console%2Fstream%3Ftoken%3DabcDEF-123_x", "/compute/v2.1/os-console-auth-tokens/abcDEF-123_x"):
        assert "abcDEF" not in log.redact(text)


async def test_the_database_holds_no_token(consoles: Consoles) -> None:  # noqa: F811
    token = token_of(await consoles.url())
    kept = b"".join(path.read_bytes() for path in Path(consoles.world.cloud.home).glob("cloud.db*"))
    assert b"console_tokens" in kept and token.encode() not in kept


async def test_the_pages_redirect_nobody_and_answer_no_file_of_the_host(pages: None, api: Api, tmp_path: Path) -> None:  # noqa: F811
    for path in HOSTILE:
        answer = await api.anonymous.send(api.anonymous.build_request("GET", "http://127.0.0.1:5000" + path))
        assert answer.headers.get("location", OURS).startswith(OURS), path
        assert "root:" not in answer.text and "import" not in answer.text.partition("<")[0], path


async def test_hostile_targets_redirect_nobody_on_the_wire(consoles: Consoles) -> None:  # noqa: F811
    for path in HOSTILE:
        reader, writer = await asyncio.open_unix_connection(str(consoles.socket))
        writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:5000\r\nconnection: close\r\n\r\n".encode())
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        head = answer.partition(b"\r\n\r\n")[0].lower()
        assert f"\r\nlocation: {OURS}".encode() in head or b"\r\nlocation:" not in head, path
        assert b"root:x:" not in answer, path


async def test_pages_let_no_other_page_script_or_frame_in(pages: None, api: Api) -> None:  # noqa: F811
    for page in ("vnc", "serial"):
        answer = await api.anonymous.get(f"/console/{page}")
        assert answer.status_code == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["referrer-policy"] == "no-referrer" and answer.headers["cache-control"] == "no-store"
        assert "<script>" not in answer.text and " onclick" not in answer.text


async def test_an_administrators_look_at_a_token_is_told_without_the_token(consoles: Consoles) -> None:  # noqa: F811
    token = token_of(await consoles.url())
    found = await consoles.world.call("GET", f"/os-console-auth-tokens/{token}", 200, version="2.99", admin=True)
    assert token not in json.dumps(found)
