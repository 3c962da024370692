"""Trusts: what one user lets another do, for how long, how often, and how far it is passed on."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.identity.conftest import DEFAULT, Keystone, Someone, on_project, password_auth, somebody, token_auth

from moln.identity.model.trusts import Trust, widens
from moln.kernel.clock import iso_micro

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATH = "/v3/OS-TRUST/trusts"


class People:
    """anna lends, bob and carl borrow."""

    def __init__(self, keystone: Keystone, anna: Someone, bob: Someone, carl: Someone):
        self.keystone, self.anna, self.bob, self.carl = keystone, anna, bob, carl

    async def lend(self, **values: Any) -> httpx.Response:
        body = {
            "trustor_user_id": self.anna.id, "trustee_user_id": self.bob.id, "project_id": self.anna.project_id, "impersonation": False,
            "roles": [{"name": "member"}],
        }  # fmt: skip
        token = values.pop("token", self.anna.token)
        return await self.keystone.client(token).post(PATH, json={"trust": body | values})

    async def lent(self, **values: Any) -> dict[str, Any]:
        answer = await self.lend(**values)
        assert answer.status_code == 201, answer.text
        return answer.json()["trust"]

    async def use(self, trust: dict[str, Any], who: Someone | None = None) -> httpx.Response:
        who = who or self.bob
        return await self.keystone.ask(password_auth(who.name, who.password, {"OS-TRUST:trust": {"id": trust["id"]}}))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def people(shared: Keystone) -> People:
    return People(shared, *[await somebody(shared, name, f"of-{name}") for name in ("anna", "bob", "carl")])


async def test_a_trustee_acts_for_the_trustor(people: People) -> None:
    trust = await people.lent(roles=[{"name": "reader"}])
    assert trust["redelegation_count"] == 0 and trust["remaining_uses"] is None and [r["name"] for r in trust["roles"]] == ["reader"]
    token = (await people.use(trust)).json()["token"]
    assert (token["user"]["id"], token["project"]["id"]) == (people.bob.id, people.anna.project_id)
    assert [r["name"] for r in token["roles"]] == ["reader"]
    assert token["OS-TRUST:trust"] == {
        "id": trust["id"], "impersonation": False, "trustor_user": {"id": people.anna.id}, "trustee_user": {"id": people.bob.id},
    }  # fmt: skip
    as_anna = (await people.use(await people.lent(impersonation=True))).json()["token"]
    assert as_anna["user"]["id"] == people.anna.id and {r["name"] for r in as_anna["roles"]} == {"member", "reader"}


async def test_only_the_trustee_uses_it_and_only_the_trustor_makes_it(people: People) -> None:
    trust = await people.lent()
    assert (await people.use(trust, people.carl)).status_code == 403
    assert (await people.use({"id": "0" * 32})).status_code == 401
    assert (await people.lend(token=people.bob.token)).status_code == 403
    assert (await people.lend(token=people.keystone.admin.headers["X-Auth-Token"])).status_code == 403
    for client, status in ((people.anna, 200), (people.bob, 200), (people.carl, 403)):
        assert (await people.keystone.client(client.token).get(f"{PATH}/{trust['id']}")).status_code == status
    assert (await people.keystone.client(people.bob.token).delete(f"{PATH}/{trust['id']}")).status_code == 403


async def test_nothing_is_lent_that_the_trustor_lacks(people: People) -> None:
    assert (await people.lend(roles=[{"name": "admin"}])).status_code == 404
    assert (await people.lend(roles=[])).status_code == 403
    assert (await people.lend(project_id=people.carl.project_id)).status_code == 404
    assert (await people.lend(trustee_user_id="0" * 32)).status_code == 404


@pytest.mark.parametrize("values", [{"expires_at": "2001-01-01T00:00:00Z"}, {"expires_at": "soon"}, {"remaining_uses": 0}, {"impersonation": "yes"},
                                    {"remaining_uses": 2, "allow_redelegation": True}, {"roles": [{"nick": "x"}, {}]}])  # fmt: skip
async def test_a_malformed_trust_is_refused(people: People, values: dict[str, Any]) -> None:
    assert (await people.lend(**values)).status_code in (400, 404)


async def test_it_ends_after_so_many_tokens(people: People) -> None:
    trust = await people.lent(remaining_uses=2)
    tokens = [(await people.use(trust)).headers["X-Subject-Token"] for _ in range(2)]
    assert (await people.use(trust)).status_code == 403
    assert (await people.keystone.client(people.anna.token).get(f"{PATH}/{trust['id']}")).status_code == 404
    assert all([await people.keystone.works(token) for token in tokens])


async def test_its_tokens_end_with_it(people: People) -> None:
    keystone = people.keystone
    soon = await people.lent(expires_at=iso_micro(keystone.clock.now_us() + 60_000_000, suffix="Z"))
    token = (await people.use(soon)).headers["X-Subject-Token"]
    keystone.clock.ahead_us += 61_000_000
    assert not await keystone.works(token) and (await people.use(soon)).status_code == 401
    gone = await people.lent()
    token = (await people.use(gone)).headers["X-Subject-Token"]
    assert (await keystone.client(people.anna.token).delete(f"{PATH}/{gone['id']}")).status_code == 204
    assert not await keystone.works(token) and (await people.use(gone)).status_code == 401


async def test_what_the_trustor_loses_the_trustee_loses(people: People) -> None:
    keystone = people.keystone
    dora = await somebody(keystone, "dora", "of-dora")
    trust = await people.lent(token=dora.token, trustor_user_id=dora.id, project_id=dora.project_id)
    token = (await people.use(trust)).headers["X-Subject-Token"]
    assert await keystone.works(token)
    path = f"/v3/projects/{dora.project_id}/users/{dora.id}/roles/{await keystone.role_id('member')}"
    assert (await keystone.admin.delete(path)).status_code == 204
    assert not await keystone.works(token)
    assert (await keystone.admin.put(path)).status_code == 204
    assert (await keystone.admin.patch(f"/v3/users/{dora.id}", json={"user": {"enabled": False}})).status_code == 200
    assert (await people.use(trust)).status_code == 401
    assert (await keystone.admin.delete(f"/v3/users/{dora.id}")).status_code == 204
    assert (await keystone.admin.get(f"{PATH}/{trust['id']}")).status_code == 404


async def test_its_token_leads_to_no_other(people: People) -> None:
    """A trust's token is exchanged for nothing, and makes and deletes nothing that lends."""
    keystone = people.keystone
    token = (await people.use(await people.lent(impersonation=True))).headers["X-Subject-Token"]
    for scope in (None, "unscoped", on_project("of-anna"), {"domain": DEFAULT}):
        assert (await keystone.ask(token_auth(token, scope))).status_code == 403
    here = keystone.client(token)
    assert (await here.post(f"/v3/users/{people.anna.id}/application_credentials", json={"application_credential": {"name": "x"}})).status_code == 403
    assert (await here.post("/v3/credentials", json={"credential": {"type": "totp", "blob": "GEZDGNBVGY3TQOJQ"}})).status_code == 403
    other = await people.lent()
    assert (await here.delete(f"{PATH}/{other['id']}")).status_code == 403


async def test_it_is_passed_on_as_far_as_it_says(people: People) -> None:
    keystone = people.keystone
    first = await people.lent(impersonation=True, allow_redelegation=True, redelegation_count=1)
    token = (await people.use(first)).headers["X-Subject-Token"]
    on = {"token": token, "trustee_user_id": people.carl.id, "impersonation": True}
    assert (await people.lend(**on, roles=[{"name": "member"}, {"name": "reader"}])).status_code == 403, "a role that the first does not name"
    second = await people.lent(**on)
    assert (second["redelegated_trust_id"], second["redelegation_count"]) == (first["id"], 0)
    theirs = await people.use(second, people.carl)
    assert theirs.json()["token"]["user"]["id"] == people.anna.id
    last = theirs.headers["X-Subject-Token"]
    assert (await people.lend(token=last, trustee_user_id=people.bob.id, impersonation=True)).status_code == 403
    assert (await keystone.client(people.anna.token).delete(f"{PATH}/{first['id']}")).status_code == 204
    assert not await keystone.works(last) and (await people.use(second, people.carl)).status_code == 401


async def test_lists_are_of_ones_own(people: People) -> None:
    client = people.keystone.client(people.anna.token)
    await people.lent()
    assert (await client.get(PATH)).status_code == 403
    assert (await client.get(PATH, params={"trustor_user_id": people.bob.id})).status_code == 403
    mine = (await client.get(PATH, params={"trustor_user_id": people.anna.id})).json()["trusts"]
    assert mine and {t["trustor_user_id"] for t in mine} == {people.anna.id} and "roles" not in mine[0]
    assert len((await people.keystone.admin.get(PATH)).json()["trusts"]) >= len(mine)
    roles = await client.get(f"{PATH}/{mine[-1]['id']}/roles")
    assert [r["name"] for r in roles.json()["roles"]] == ["member"]
    role = roles.json()["roles"][0]["id"]
    assert (await client.get(f"{PATH}/{mine[-1]['id']}/roles/{role}")).json()["role"]["id"] == role
    assert (await client.head(f"{PATH}/{mine[-1]['id']}/roles/{'0' * 32}")).status_code == 404


@pytest.mark.parametrize(("change", "refused"), [
    ({}, False), ({"remaining_uses": 1}, True), ({"expires_at": 101}, True), ({"expires_at": None}, True), ({"expires_at": 100}, False),
    ({"impersonation": True}, True), ({"roles": ["r", "x"]}, True), ({"roles": []}, False), ({"project_id": "other"}, True),
])  # fmt: skip
async def test_what_may_be_passed_on(change: dict[str, Any], refused: bool) -> None:
    above = Trust("1", "a", "b", False, "p", ["r"], 100, None, 1)
    new = {"id": "2", "trustor_user_id": "b", "trustee_user_id": "c", "impersonation": False, "project_id": "p", "roles": ["r"], "expires_at": 50}
    assert (widens(Trust(**new | change), above) is not None) is refused
    assert widens(Trust(**new), Trust("1", "a", "b", False, "p", ["r"], 100, None, 0)) is not None
