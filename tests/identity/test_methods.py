"""Several methods: one-time passwords, rules that ask for more than one, receipts of those shown before."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.identity.conftest import Keystone, Someone, password_auth, somebody, token_auth

from moln.identity.model import totp

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECRET = b"12345678901234567890"
RECEIPT = "Openstack-Auth-Receipt"


@pytest.mark.parametrize(("at_s", "code"), [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (2000000000, "279037"), (20000000000, "353130")])
async def test_passcodes_are_those_of_the_standard(at_s: int, code: str) -> None:
    """RFC 6238, appendix B, the last six digits."""
    assert totp.passcode(SECRET, at_s // totp.STEP_S) == code
    assert totp.step_of(SECRET, code, at_s) == totp.step_of(SECRET, code, at_s + totp.STEP_S) == at_s // totp.STEP_S
    assert totp.step_of(SECRET, code, at_s + 2 * totp.STEP_S) is None


@pytest.mark.parametrize("blob", ["", "   ", "1", "not base32!", "\u00e9"])
async def test_what_is_no_secret_proves_nobody(blob: str) -> None:
    assert totp.secret_of(blob) is None


class Phone:
    """A user with a secret, and what their phone shows now."""

    def __init__(self, keystone: Keystone, user: Someone):
        self.keystone, self.user = keystone, user

    def code(self) -> str:
        return totp.passcode(SECRET, self.keystone.clock.now_us() // 1_000_000 // totp.STEP_S)

    def wait(self) -> None:
        self.keystone.clock.ahead_us += totp.STEP_S * 1_000_000

    def auth(self, code: str | None = None) -> dict[str, Any]:
        shown = {"user": {"id": self.user.id, "passcode": self.code() if code is None else code}}
        return {"auth": {"identity": {"methods": ["totp"], "totp": shown}}}

    async def rules(self, *rules: list[str], **more: Any) -> None:
        options = {"multi_factor_auth_rules": list(rules), "multi_factor_auth_enabled": True} | more
        answer = await self.keystone.admin.patch(f"/v3/users/{self.user.id}", json={"user": {"options": options}})
        assert answer.status_code == 200 and answer.json()["user"]["options"]["multi_factor_auth_rules"] == list(rules)

    async def ask(self, body: dict[str, Any], receipt: str | None = None) -> httpx.Response:
        return await self.keystone.anonymous.post("/v3/auth/tokens", json=body, headers={RECEIPT: receipt} if receipt else {})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def phone(shared: Keystone) -> Phone:
    user = await somebody(shared, "paula", "phones")
    await shared.make("credential", type="totp", blob=base64.b32encode(SECRET).decode(), user_id=user.id)
    return Phone(shared, user)


async def test_a_passcode_proves_its_user_once(phone: Phone) -> None:
    phone.wait()
    code = phone.code()
    answer = await phone.ask(phone.auth(code))
    assert answer.status_code == 201 and answer.json()["token"]["methods"] == ["totp"]
    again, wrong, empty = [await phone.ask(phone.auth(code)) for code in (code, "000000", "")]
    assert {again.status_code, wrong.status_code, empty.status_code} == {401}
    assert again.json() == wrong.json() == (await phone.ask({"auth": {"identity": {"methods": ["totp"], "totp": {"user": {"id": "x", "passcode": "1"}}}}})).json()
    phone.wait()
    assert (await phone.ask(phone.auth(code))).status_code == 401, "a passcode that was used"
    assert (await phone.ask(phone.auth())).status_code == 201


async def test_rules_ask_for_more_and_a_receipt_counts_for_what_was_shown(phone: Phone) -> None:
    await phone.rules(["password", "totp"])
    phone.wait()
    password = password_auth("paula", phone.user.password)
    first = await phone.ask(password)
    assert first.status_code == 401 and first.json()["required_auth_methods"] == [["password", "totp"]]
    assert first.json()["receipt"]["methods"] == ["password"] and first.json()["receipt"]["user"]["id"] == phone.user.id
    receipt = first.headers[RECEIPT]
    assert (await phone.ask(phone.auth(), receipt)).json()["token"]["methods"] == ["password", "totp"]
    phone.wait()
    other = await phone.ask(phone.auth())
    assert other.status_code == 401 and other.json()["receipt"]["methods"] == ["totp"]
    assert (await phone.ask(password, other.headers[RECEIPT])).status_code == 201
    phone.wait()
    both = password_auth("paula", phone.user.password)
    both["auth"]["identity"] |= {"methods": ["password", "totp"], "totp": phone.auth()["auth"]["identity"]["totp"]}
    token = (await phone.ask(both)).headers["X-Subject-Token"]
    assert (await phone.ask(token_auth(token))).status_code == 201, "who has a token has shown all of it"
    assert not await phone.keystone.works(receipt), "a receipt is no token"
    assert (await phone.ask(password, token)).status_code == 401, "a token is no receipt"


async def test_a_receipt_is_its_users_and_ends(phone: Phone) -> None:
    await phone.rules(["password", "totp"])
    receipt = (await phone.ask(password_auth("paula", phone.user.password))).headers[RECEIPT]
    admin = phone.keystone.password
    assert (await phone.ask(password_auth("admin", admin), receipt)).status_code == 401
    assert (await phone.ask(phone.auth(), receipt[:-2])).status_code == 401
    phone.keystone.clock.ahead_us += 301_000_000
    assert (await phone.ask(phone.auth(), receipt)).status_code == 401


async def test_one_of_several_rules_is_enough_and_a_switch_turns_them_off(phone: Phone) -> None:
    password = password_auth("paula", phone.user.password)
    await phone.rules(["totp", "oauth1"], ["password"])
    assert (await phone.ask(password)).status_code == 201
    await phone.rules(["totp", "nonesuch"])
    assert (await phone.ask(password)).status_code == 401, "a rule that nobody can meet lets nobody in"
    await phone.rules(["password", "totp"], multi_factor_auth_enabled=False)
    assert (await phone.ask(password)).status_code == 201


@pytest.mark.parametrize("options", [{"multi_factor_auth_rules": "password"}, {"multi_factor_auth_rules": [["password"], 1]}, {"lock_password": "yes"},
                                     {"nonesuch": True}, {"multi_factor_auth_rules": [[None]]}])  # fmt: skip
async def test_options_are_checked(phone: Phone, options: dict[str, Any]) -> None:
    answer = await phone.keystone.admin.patch(f"/v3/users/{phone.user.id}", json={"user": {"options": options}})
    assert answer.status_code == 400 and "options" in answer.json()["error"]["message"]
