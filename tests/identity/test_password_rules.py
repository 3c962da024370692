"""What passwords must be, how long they last, and who is kept out (each test with settings of its own)."""

from __future__ import annotations

from pathlib import Path

from tests.identity.conftest import Keystone, keystone_at, password_auth

DAY_US = 86_400 * 1_000_000


async def change(keystone: Keystone, user_id: str, old: str, new: str) -> int:
    answer = await keystone.anonymous.post(f"/v3/users/{user_id}/password", json={"user": {"original_password": old, "password": new}})
    return answer.status_code


async def test_a_password_expires_and_its_user_can_still_change_it(tmp_path: Path) -> None:
    async with keystone_at(tmp_path, password_expires_days=1, unique_last_passwords=2) as keystone:
        user = await keystone.make("user", name="eva", password="first one")
        kept = await keystone.make("user", name="old", password="first one", options={"ignore_password_expiry": True})
        assert user["password_expires_at"] is not None and kept["password_expires_at"] is None
        keystone.clock.ahead_us += DAY_US + 1_000_000
        refused = await keystone.ask(password_auth("eva", "first one"))
        assert refused.status_code == 401 and "expired" in refused.json()["error"]["message"]
        assert "expired" not in (await keystone.ask(password_auth("eva", "wrong"))).json()["error"]["message"]
        assert (await keystone.ask(password_auth("old", "first one"))).status_code == 201
        assert await change(keystone, user["id"], "first one", "first one") == 400
        assert await change(keystone, user["id"], "first one", "second one") == 204
        token = (await keystone.ask(password_auth("eva", "second one"))).json()["token"]
        assert token["user"]["password_expires_at"] > user["password_expires_at"]


async def test_passwords_are_strong_and_not_changed_too_often(tmp_path: Path) -> None:
    rules = {"password_regex": r"^(?=.*\d).{7,}$", "password_regex_description": "seven characters, one of them a digit"}
    async with keystone_at(tmp_path, **rules, minimum_password_age_days=1, change_password_upon_first_use=True) as keystone:
        answer = await keystone.admin.post("/v3/users", json={"user": {"name": "eva", "password": "weak"}})
        assert answer.status_code == 400 and "one of them a digit" in answer.json()["error"]["message"]
        user = await keystone.make("user", name="eva", password="strong 1")
        robot = await keystone.make("user", name="bot", password="strong 1", options={"ignore_change_password_upon_first_use": True, "lock_password": True})
        assert (await keystone.ask(password_auth("eva", "strong 1"))).status_code == 401, "it has to be changed first"
        assert await change(keystone, user["id"], "strong 1", "weak") == 400
        assert await change(keystone, user["id"], "strong 1", "strong 2") == 204
        assert (await keystone.ask(password_auth("eva", "strong 2"))).status_code == 201
        assert await change(keystone, user["id"], "strong 2", "strong 3") == 400, "the second is too young"
        assert (await keystone.ask(password_auth("bot", "strong 1"))).status_code == 201
        keystone.clock.ahead_us += DAY_US
        assert await change(keystone, robot["id"], "strong 1", "strong 2") == 400, "its password is locked"
        shown = (await keystone.client(await keystone.token("eva", "strong 2")).get("/v3/domains/default/config/security_compliance")).json()
        assert shown == {"config": {"security_compliance": rules}}


async def test_wrong_passwords_lock_and_the_lock_says_nothing(tmp_path: Path) -> None:
    async with keystone_at(tmp_path, lockout_attempts=2, lockout_s=60, inactive_days=3) as keystone:
        user = await keystone.make("user", name="eva", password="right")
        await keystone.make("user", name="bot", password="right", options={"ignore_lockout_failure_attempts": True})
        hashes = keystone.cloud.areas["identity"].passwords
        wrong = [await keystone.ask(password_auth(name, "wrong")) for name in ("eva", "bot") for _ in range(2)]
        before = hashes.hashes
        locked = await keystone.ask(password_auth("eva", "right"))
        assert hashes.hashes == before + 1, "as much work as any other"
        assert locked.status_code == 401 and locked.json() == wrong[0].json()
        assert await change(keystone, user["id"], "right", "another") == 401
        assert (await keystone.ask(password_auth("bot", "right"))).status_code == 201
        keystone.clock.ahead_us += 61_000_000
        assert (await keystone.ask(password_auth("eva", "wrong"))).status_code == 401
        assert (await keystone.ask(password_auth("eva", "right"))).status_code == 201, "the count begins anew"
        keystone.clock.ahead_us += 4 * DAY_US
        assert (await keystone.ask(password_auth("eva", "right"))).status_code == 401, "away for too long"
