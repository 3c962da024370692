"""SEC-44 (session flood) and SEC-45 (disabled users, empty passwords), at sign-in."""

from __future__ import annotations

from typing import Any

import pytest
from tests import databases
from tests.identity.conftest import Keystone, Someone, alice, keystone, password_auth  # noqa: F401 (fixtures)

POSTGRESQL = ""  # it looks at the file


async def test_failed_attempts_leave_nothing_behind(keystone: Keystone) -> None:  # noqa: F811
    state = keystone.cloud.areas["identity"]
    kept = len(state._tokens)
    before = await databases.contents(keystone.cloud.home)
    for n in range(20):
        assert (await keystone.ask(password_auth(f"nobody-{n}", "wrong"))).status_code == 401
        assert (await keystone.client(f"gAAAAAB{n}").get("/v3/users")).status_code == 401
    assert len(state._tokens) == kept and await databases.contents(keystone.cloud.home) == before


async def test_opened_tokens_are_kept_in_a_bounded_number(keystone: Keystone, alice: Someone, monkeypatch: Any) -> None:  # noqa: F811
    monkeypatch.setattr("moln.identity.ops.state.TOKENS", 3)
    tokens = [await keystone.token("alice", alice.password) for _ in range(6)]
    assert len(keystone.cloud.areas["identity"]._tokens) <= 3
    assert all([await keystone.works(token) for token in tokens])


@pytest.mark.parametrize("enabled", ["false", "FALSE", 0, None, "no"])
async def test_enabled_is_a_boolean_and_nothing_else(keystone: Keystone, alice: Someone, enabled: Any) -> None:  # noqa: F811
    answer = await keystone.admin.patch(f"/v3/users/{alice.id}", json={"user": {"enabled": enabled}})
    assert answer.status_code == 400
    assert await keystone.works(alice.token)


async def test_an_empty_password_opens_no_account(keystone: Keystone, alice: Someone) -> None:  # noqa: F811
    for password in ("", None):
        body = password_auth("alice", "")
        body["auth"]["identity"]["password"]["user"]["password"] = password
        assert (await keystone.ask(body)).status_code == 401
    del body["auth"]["identity"]["password"]["user"]["password"]
    assert (await keystone.ask(body)).status_code == 401
