"""SEC-36 (OSSA-2012-019, 2014-013): a chain of tokens never outlives its first, and methods are bounded."""

from __future__ import annotations

from tests.identity.conftest import Keystone, Someone, alice, keystone, password_auth, token_auth  # noqa: F401 (fixtures)


async def test_a_derived_token_expires_with_its_parent(keystone: Keystone, alice: Someone) -> None:  # noqa: F811
    first = await keystone.ask(password_auth("alice", alice.password))
    token, expires_at = first.headers["X-Subject-Token"], first.json()["token"]["expires_at"]
    for _ in range(4):
        keystone.clock.ahead_us += 600 * 1_000_000
        answer = await keystone.ask(token_auth(token, {"project": {"id": alice.project_id}}))
        assert answer.status_code == 201 and answer.json()["token"]["expires_at"] == expires_at
        token = answer.headers["X-Subject-Token"]
    keystone.clock.ahead_us += 1300 * 1_000_000
    assert not await keystone.works(token)
    assert (await keystone.ask(token_auth(token))).status_code == 401


async def test_a_password_beside_a_token_does_not_prolong_it(keystone: Keystone, alice: Someone) -> None:  # noqa: F811
    first = await keystone.ask(password_auth("alice", alice.password))
    keystone.clock.ahead_us += 600 * 1_000_000
    both = password_auth("alice", alice.password)
    both["auth"]["identity"] |= {"methods": ["password", "token"], "token": {"id": first.headers["X-Subject-Token"]}}
    answer = await keystone.ask(both)
    assert answer.json()["token"]["expires_at"] == first.json()["token"]["expires_at"]


async def test_a_password_and_somebody_elses_token_prove_nothing(keystone: Keystone, alice: Someone) -> None:  # noqa: F811
    both = password_auth("admin", keystone.password)
    both["auth"]["identity"] |= {"methods": ["password", "token"], "token": {"id": alice.token}}
    assert (await keystone.ask(both)).status_code == 401


async def test_methods_are_bounded_and_repeated_ones_cost_once(keystone: Keystone, alice: Someone) -> None:  # noqa: F811
    passwords = keystone.cloud.areas["identity"].passwords
    many = password_auth("alice", alice.password)
    many["auth"]["identity"]["methods"] = ["password"] * 8
    before = passwords.hashes
    assert (await keystone.ask(many)).status_code == 201
    assert passwords.hashes == before + 1
    many["auth"]["identity"]["methods"] = ["password"] * 9
    assert (await keystone.ask(many)).status_code == 400
    assert passwords.hashes == before + 1
