"""Access rules bind what application credentials are good for; service tokens carry those that have expired."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.identity.conftest import Keystone, Someone, somebody

from moln.kernel.context import AccessRule
from moln.kernel.http.access import is_plain, matches

pytestmark = pytest.mark.asyncio(loop_scope="module")
KNOWN = {"OpenStack-Identity-Access-Rules": "1.0"}


@pytest.mark.parametrize(("pattern", "path", "fits"), [
    ("/v3/users", "/v3/users", True), ("/v3/users", "/v3/users/1", False), ("/v3/users/*", "/v3/users/1", True),
    ("/v3/users/*", "/v3/users/1/groups", False), ("/v3/users/{id}", "/v3/users/1", True), ("/v3/**", "/v3/users/1/groups", True),
    ("/v3/**/groups", "/v3/users/1/groups", True), ("/v3/users/*", "/v3/users/", False), ("/v3.users", "/v3/users", False),
    ("**", "/anything", True), ("/v3/users/*", "/v3/users/1\n", True), ("/a/{x", "/a/{x", True),
])  # fmt: skip
async def test_how_paths_are_compared(pattern: str, path: str, fits: bool) -> None:
    assert matches(AccessRule("identity", "GET", pattern), path) is fits


async def test_rules_that_would_take_long_to_compare_are_told_apart() -> None:
    assert is_plain("/v2.1/servers/*/action") and is_plain("/**/x/**")
    assert not is_plain("/**/**/**") and not is_plain("/*a*b") and not is_plain("/***")
    assert not matches(AccessRule("identity", "GET", "**"), "/" * 5000)


class Bound:
    """A user whose programs are bound."""

    def __init__(self, keystone: Keystone, user: Someone):
        self.keystone, self.user, self.count = keystone, user, 0
        self.here = keystone.client(user.token)
        self.path = f"/v3/users/{user.id}"

    async def make(self, *rules: dict[str, Any], client: httpx.AsyncClient | None = None, **values: Any) -> httpx.Response:
        self.count += 1
        body = {"application_credential": {"name": f"p{self.count}", "access_rules": list(rules)} | values}
        return await (client or self.here).post(f"{self.path}/application_credentials", json=body)

    async def token(self, *rules: dict[str, Any], **values: Any) -> str:
        answer = await self.make(*rules, **values)
        assert answer.status_code == 201, answer.text
        made = answer.json()["application_credential"]
        shown = {"methods": ["application_credential"], "application_credential": {"id": made["id"], "secret": made["secret"]}}
        return (await self.keystone.ask({"auth": {"identity": shown}})).headers["X-Subject-Token"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bound(shared: Keystone) -> Bound:
    return Bound(shared, await somebody(shared, "bo", "bound"))


def rule(path: str, method: str = "GET", service: str = "identity") -> dict[str, str]:
    return {"path": path, "method": method, "service": service}


async def test_a_bound_token_is_good_for_nothing_else(bound: Bound) -> None:
    there = bound.keystone.client(await bound.token(rule("/v3/auth/projects"), rule("/v3/users/*", "PATCH"), rule("/v3/auth/domains", service="compute")))
    assert (await there.get("/v3/auth/projects")).status_code == 200
    assert (await there.head("/v3/auth/projects")).status_code == 200
    assert [(await there.get(path)).status_code for path in ("/v3/auth/domains", "/v3/auth/catalog", bound.path)] == [401, 401, 401]
    assert (await there.patch(bound.path, json={"user": {"name": "bo2"}})).status_code == 403, "the rule lets it through, policy does not"
    full = bound.keystone.client(await bound.token(rule("/identity/v3/auth/**")))
    assert (await full.get("/v3/auth/domains")).status_code == 200


async def test_another_service_asks_for_the_caller_with_its_own_token(bound: Bound) -> None:
    nova = await somebody(bound.keystone, "nova", "service2", "service")
    there = bound.keystone.client(await bound.token(rule("/v2.1/servers", "POST", "compute")))
    assert (await there.get("/v3/auth/catalog")).status_code == 401
    assert (await there.get("/v3/auth/catalog", headers={"X-Service-Token": nova.token})).status_code == 200
    assert (await there.get("/v3/auth/catalog", headers={"X-Service-Token": bound.user.token})).status_code == 401


async def test_who_validates_must_know_of_rules(bound: Bound) -> None:
    token = await bound.token(rule("/v2.1/servers", service="compute"))
    validate = {"X-Subject-Token": token}
    assert (await bound.keystone.admin.get("/v3/auth/tokens", headers=validate)).status_code == 404
    shown = (await bound.keystone.admin.get("/v3/auth/tokens", headers=validate | KNOWN)).json()["token"]["application_credential"]
    assert [(r["path"], r["method"], r["service"]) for r in shown["access_rules"]] == [("/v2.1/servers", "GET", "compute")]


async def test_rules_are_kept_once_and_not_deleted_while_used(bound: Bound) -> None:
    one = rule("/v2.1/flavors", service="compute")
    first, second = [(await bound.make(one)).json()["application_credential"] for _ in range(2)]
    assert first["access_rules"] == second["access_rules"]
    kept = first["access_rules"][0]["id"]
    by_id = (await bound.make({"id": kept})).json()["application_credential"]
    assert by_id["access_rules"] == first["access_rules"]
    assert kept in [r["id"] for r in (await bound.here.get(f"{bound.path}/access_rules")).json()["access_rules"]]
    assert (await bound.here.get(f"{bound.path}/access_rules/{kept}")).json()["access_rule"]["path"] == "/v2.1/flavors"
    assert (await bound.here.delete(f"{bound.path}/access_rules/{kept}")).status_code == 403
    for made in (first, second, by_id):
        assert (await bound.here.delete(f"{bound.path}/application_credentials/{made['id']}")).status_code == 204
    assert (await bound.here.delete(f"{bound.path}/access_rules/{kept}")).status_code == 204
    assert (await bound.here.get(f"{bound.path}/access_rules/{kept}")).status_code == 404


async def test_rules_are_their_users_own(bound: Bound) -> None:
    kept = (await bound.make(rule("/v2.1/mine"))).json()["application_credential"]["access_rules"][0]["id"]
    eve = await somebody(bound.keystone, "eve", "evil")
    there = bound.keystone.client(eve.token)
    for method, path in (("GET", "access_rules"), ("GET", f"access_rules/{kept}"), ("DELETE", f"access_rules/{kept}")):
        assert (await there.request(method, f"{bound.path}/{path}")).status_code == 403
    body = {"application_credential": {"name": "x", "access_rules": [{"id": kept}]}}
    assert (await there.post(f"/v3/users/{eve.id}/application_credentials", json=body)).status_code == 404


async def test_a_bound_token_makes_none_that_is_less_bound(bound: Bound) -> None:
    making = rule("/v3/users/*/application_credentials", "POST")
    there = bound.keystone.client(await bound.token(making, unrestricted=True))
    assert (await bound.make(rule("/**"), client=there)).status_code == 403
    inherits = await there.post(f"{bound.path}/application_credentials", json={"application_credential": {"name": "same"}})
    assert [r["path"] for r in inherits.json()["application_credential"]["access_rules"]] == [making["path"]]


@pytest.mark.parametrize("bad", [{}, {"path": "x", "method": "GET", "service": "compute"}, {"path": "/x", "method": "get", "service": "compute"},
                                 {"path": "/x", "method": "GET"}, {"path": "/**/**/**", "method": "GET", "service": "compute"},
                                 {"path": "/" * 129, "method": "GET", "service": "compute"}, {"id": "x" * 65}, {"nonesuch": 1}])  # fmt: skip
async def test_a_malformed_rule_is_400(bound: Bound, bad: dict[str, Any]) -> None:
    assert (await bound.make(bad)).status_code == 400


async def test_an_expired_token_works_beside_a_services_own(bound: Bound) -> None:
    keystone = bound.keystone
    nova = await somebody(keystone, "nova3", "service3", "service")
    user = await somebody(keystone, "late", "lates")
    keystone.clock.ahead_us += 3_601_000_000
    service = await keystone.token("nova3", nova.password, {"project": {"id": nova.project_id}})
    there = keystone.client(user.token)
    admin = keystone.client(await keystone.token("admin", keystone.password, {"system": {"all": True}}))
    assert (await there.get("/v3/auth/projects")).status_code == 401
    assert (await there.get("/v3/auth/projects", headers={"X-Service-Token": service})).status_code == 200
    assert (await there.get("/v3/auth/projects", headers={"X-Service-Token": user.token})).status_code == 401
    late = {"X-Subject-Token": user.token}
    assert (await admin.get("/v3/auth/tokens", headers=late)).status_code == 404
    assert (await admin.get("/v3/auth/tokens?allow_expired=1", headers=late)).json()["token"]["user"]["name"] == "late"
    assert (await admin.head("/v3/auth/tokens?allow_expired=1", headers=late)).status_code == 200
    keystone.clock.ahead_us += 2 * 86_400_000_000
    admin = keystone.client(await keystone.token("admin", keystone.password, {"system": {"all": True}}))
    assert (await admin.get("/v3/auth/tokens?allow_expired=1", headers=late)).status_code == 404
    service = await keystone.token("nova3", nova.password, {"project": {"id": nova.project_id}})
    assert (await there.get("/v3/auth/projects", headers={"X-Service-Token": service})).status_code == 401


async def test_revocations_are_told(bound: Bound) -> None:
    keystone = bound.keystone
    admin = keystone.client(await keystone.token("admin", keystone.password, {"system": {"all": True}}))
    user = await _revoked(keystone, admin)
    events = (await admin.get("/v3/OS-REVOKE/events")).json()["events"]
    assert {"audit_id", "user_id"} <= {key for event in events for key in event}
    assert user in [event.get("user_id") for event in events]
    assert (await admin.get("/v3/OS-REVOKE/events?since=2999-01-01T00:00:00Z")).json()["events"] == []
    assert (await keystone.client(bound.user.token).get("/v3/OS-REVOKE/events")).status_code in (401, 403)


async def _revoked(keystone: Keystone, admin: httpx.AsyncClient) -> str:
    """Somebody with one token revoked, and then all of them."""
    keystone.admin = admin
    made = (await admin.post("/v3/users", json={"user": {"name": "rev", "password": "correct horse", "domain_id": "default"}})).json()["user"]
    token = await keystone.token("rev", "correct horse")
    assert (await keystone.client(token).delete("/v3/auth/tokens", headers={"X-Subject-Token": token})).status_code == 204
    assert (await admin.delete(f"/v3/users/{made['id']}/tokens")).status_code == 204
    return made["id"]
