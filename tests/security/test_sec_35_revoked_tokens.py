"""SEC-35 (OSSA-2016-005, -008, 2013-011, 2012-014): what was taken away is refused at once, cached or not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from tests.identity.conftest import Keystone, Someone, alice, keystone, password_auth, token_auth  # noqa: F401 (fixtures)

Change = Callable[[Keystone, Someone], Awaitable[int]]


async def revoke(cloud: Keystone, who: Someone) -> int:
    return (await cloud.admin.delete("/v3/auth/tokens", headers={"X-Subject-Token": who.token})).status_code


async def sign_out(cloud: Keystone, who: Someone) -> int:
    own = cloud.client(who.token)
    return (await own.delete("/v3/auth/tokens", headers={"X-Subject-Token": who.token})).status_code


async def revoke_all(cloud: Keystone, who: Someone) -> int:
    return (await cloud.admin.delete(f"/v3/users/{who.id}/tokens")).status_code


async def disable_user(cloud: Keystone, who: Someone) -> int:
    return (await cloud.admin.patch(f"/v3/users/{who.id}", json={"user": {"enabled": False}})).status_code


async def delete_user(cloud: Keystone, who: Someone) -> int:
    return (await cloud.admin.delete(f"/v3/users/{who.id}")).status_code


async def change_password(cloud: Keystone, who: Someone) -> int:
    body = {"user": {"original_password": who.password, "password": "new password"}}
    return (await cloud.anonymous.post(f"/v3/users/{who.id}/password", json=body)).status_code


async def set_password(cloud: Keystone, who: Someone) -> int:
    return (await cloud.admin.patch(f"/v3/users/{who.id}", json={"user": {"password": "new password"}})).status_code


async def take_role(cloud: Keystone, who: Someone) -> int:
    role = await cloud.role_id("member")
    return (await cloud.admin.delete(f"/v3/projects/{who.project_id}/users/{who.id}/roles/{role}")).status_code


async def disable_project(cloud: Keystone, who: Someone) -> int:
    return (await cloud.admin.patch(f"/v3/projects/{who.project_id}", json={"project": {"enabled": False}})).status_code


async def delete_project(cloud: Keystone, who: Someone) -> int:
    return (await cloud.admin.delete(f"/v3/projects/{who.project_id}")).status_code


CHANGES = [revoke, sign_out, revoke_all, disable_user, delete_user, change_password, set_password, take_role, disable_project,
           delete_project]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("cached", [True, False], ids=["cached", "not_cached"])
async def test_a_token_is_refused_from_the_next_request_on(
    keystone: Keystone, alice: Someone, change: Change, cached: bool  # noqa: F811
) -> None:
    assert await keystone.works(alice.token)
    if not cached:
        keystone.cloud.areas["identity"].forget(alice.token)
    assert await change(keystone, alice) in (200, 204)
    assert not await keystone.works(alice.token)
    assert (await keystone.ask(token_auth(alice.token))).status_code == 401
    shown = await keystone.admin.get("/v3/auth/tokens", headers={"X-Subject-Token": alice.token})
    assert shown.status_code == 404


async def test_a_disabled_domain_shuts_everyone_of_it_out(keystone: Keystone) -> None:  # noqa: F811
    domain = await keystone.make("domain", name="shop")
    user = await keystone.make("user", name="mia", password="a password", domain_id=domain["id"])
    who = {"methods": ["password"], "password": {"user": {"id": user["id"], "password": "a password"}}}
    token = (await keystone.ask({"auth": {"identity": who}})).headers["X-Subject-Token"]
    assert await keystone.works(token)
    await keystone.admin.patch(f"/v3/domains/{domain['id']}", json={"domain": {"enabled": False}})
    assert not await keystone.works(token)
    assert (await keystone.ask({"auth": {"identity": who}})).status_code == 401


async def test_enabling_a_user_again_revives_no_token(keystone: Keystone, alice: Someone) -> None:  # noqa: F811
    await disable_user(keystone, alice)
    await keystone.admin.patch(f"/v3/users/{alice.id}", json={"user": {"enabled": True}})
    assert not await keystone.works(alice.token)
    assert (await keystone.ask(password_auth("alice", alice.password))).status_code == 201


async def test_a_token_of_any_length_of_chain_can_be_revoked(keystone: Keystone, alice: Someone) -> None:  # noqa: F811
    token = alice.token
    chain = [token]
    for _ in range(3):
        token = (await keystone.ask(token_auth(token))).headers["X-Subject-Token"]
        chain.append(token)
    for revoked in chain:
        headers = {"X-Subject-Token": revoked}
        assert (await keystone.admin.delete("/v3/auth/tokens", headers=headers)).status_code == 204
        assert not await keystone.works(revoked)
        assert (await keystone.ask(token_auth(revoked))).status_code == 401


async def test_a_role_taken_away_is_gone_from_the_tokens_that_remain(keystone: Keystone, alice: Someone) -> None:  # noqa: F811
    await keystone.grant(alice.id, "admin", f"projects/{alice.project_id}")
    own = keystone.client(alice.token)
    assert (await own.get("/v3/users")).status_code == 200
    role = await keystone.role_id("admin")
    await keystone.admin.delete(f"/v3/projects/{alice.project_id}/users/{alice.id}/roles/{role}")
    assert (await own.get("/v3/users")).status_code == 403


async def test_an_implication_taken_away_is_gone_from_tokens_too(keystone: Keystone, alice: Someone) -> None:  # noqa: F811
    role = await keystone.make("role", name="deputy")
    admin = await keystone.role_id("manager")
    await keystone.admin.put(f"/v3/roles/{role['id']}/implies/{admin}")
    await keystone.grant(alice.id, "deputy", f"projects/{alice.project_id}")
    assert "manager" in (await keystone.cloud.authenticate(keystone.cloud, alice.token)).roles
    await keystone.admin.delete(f"/v3/roles/{role['id']}/implies/{admin}")
    assert "manager" not in (await keystone.cloud.authenticate(keystone.cloud, alice.token)).roles
