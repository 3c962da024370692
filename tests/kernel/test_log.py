"""No secret reaches a log, and access lines are whole JSON with the request's id."""

from __future__ import annotations

import asyncio
import io
import json
import logging

import pytest

from moln.kernel import log

FERNET = "gAAAAABn" + "x" * 120 + "=="


@pytest.mark.parametrize("text", [
    f"GET /identity/v3/auth/tokens/{FERNET} 404", f"token {FERNET}", "{'password': 'hunter22'}", 'X-Auth-Token: hunter22', "adminPass=hunter22",
    '{"auth": {"password": "hunter22"}}', "private_key = hunter22",
])  # fmt: skip
def test_secrets_become_stars(text: str) -> None:
    assert "hunter22" not in log.redact(text)
    assert "gAAAA" not in log.redact(text)
    assert "***" in log.redact(text)


def test_a_line_is_json_whatever_it_says() -> None:
    record = logging.LogRecord("moln", logging.INFO, "", 0, "a\ud800\n\"b\" %s", ("\0",), None)
    assert json.loads(log.JsonLines().format(record))["message"].startswith("a")


async def test_access_lines_are_written_together_and_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(log._access, "stream", stream)
    monkeypatch.setattr(log, "ACCESS_S", 0.01)
    for i in range(3):
        log.access("GET", f"/x/{FERNET}/{i}", 200, "u1", f"req-{i}")
    assert stream.getvalue() == ""
    await asyncio.sleep(0.1)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["request_id"] for line in lines] == ["req-0", "req-1", "req-2"]
    assert lines[0]["message"] == "GET /x/***/0 200" and lines[0]["user"] == "u1"
