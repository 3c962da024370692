"""SEC-39 (OSSA-2021-003, 2014-024): an attempt to sign in tells nothing about accounts, not even by how long it takes."""

from __future__ import annotations

from typing import Any

import pytest
from tests import hashing
from tests.identity.conftest import Keystone, Someone, alice, keystone, password_auth  # noqa: F401 (fixtures)

from moln.identity.ops.passwords import Passwords


def by_id(user_id: str, password: str) -> dict[str, Any]:
    who = {"methods": ["password"], "password": {"user": {"id": user_id, "password": password}}}
    return {"auth": {"identity": who}}


async def test_every_failed_attempt_looks_the_same_and_costs_one_hash(keystone: Keystone, alice: Someone) -> None:  # noqa: F811
    disabled = await keystone.make("user", name="disabled", password="a password", enabled=False)
    await keystone.make("user", name="robot")
    elsewhere = password_auth("alice", alice.password)
    elsewhere["auth"]["identity"]["password"]["user"]["domain"] = {"name": "no such domain"}
    attempts = [
        password_auth("alice", "wrong"), password_auth("nobody", "wrong"), password_auth("disabled", "a password"),
        password_auth("disabled", "wrong"), password_auth("robot", ""), password_auth("alice", "x" * 10_000), elsewhere,
        by_id(alice.id, "wrong"), by_id("nobody", "wrong"), by_id(disabled["id"], "a password"),
        password_auth("alice", "wrong", {"project": {"id": "nowhere"}}),
        password_auth("alice", alice.password, {"project": {"id": "nowhere"}}),
    ]  # fmt: skip
    passwords = keystone.cloud.areas["identity"].passwords
    seen = set()
    for attempt in attempts:
        before = passwords.hashes
        answer = await keystone.ask(attempt)
        assert passwords.hashes == before + 1
        answer.headers.pop("x-openstack-request-id")
        seen.add((answer.status_code, answer.text, str(sorted(answer.headers.items()))))
    assert len(seen) == 1 and next(iter(seen))[0] == 401


async def test_changing_a_password_tells_nothing_either(keystone: Keystone, alice: Someone) -> None:  # noqa: F811
    passwords = keystone.cloud.areas["identity"].passwords
    body = {"user": {"original_password": "wrong", "password": "new password"}}
    seen = set()
    for user_id in (alice.id, "nobody"):
        before = passwords.hashes
        answer = await keystone.anonymous.post(f"/v3/users/{user_id}/password", json=body)
        assert passwords.hashes == before + 1
        seen.add((answer.status_code, answer.text))
    assert len(seen) == 1 and next(iter(seen))[0] == 401


async def test_a_decoy_hash_costs_what_a_real_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Passwords, "cost", hashing.REAL)
    passwords = Passwords()
    real = await passwords.hash("a password")
    cost = "$argon2id$v=19$m=19456,t=2,p=1$"
    assert real.startswith(cost) and passwords._decoy.startswith(cost) and len(real) == len(passwords._decoy)
