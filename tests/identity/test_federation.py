"""Federation's objects, and users whom a trusted proxy vouches for."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.identity.conftest import Keystone, keystone_at, somebody, token_auth

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROOT = "/v3/OS-FEDERATION"
SECRET = "the proxy's own secret"
RULES = [
    {"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "HTTP_OIDC_NAME"}]},
    {"local": [{"groups": "{0}", "domain": {"id": "default"}}], "remote": [{"type": "HTTP_OIDC_GROUPS"}]},
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud(tmp_path_factory: pytest.TempPathFactory) -> Any:
    async with keystone_at(tmp_path_factory.mktemp("federation"), federation_secret=SECRET) as keystone:
        yield keystone


class Provider:
    """A provider with a protocol and a mapping of its own."""

    def __init__(self, cloud: Keystone, name: str):
        self.cloud, self.admin, self.name = cloud, cloud.admin, name
        self.idp = f"{ROOT}/identity_providers/{name}"

    async def set_up(self, rules: Any = RULES, **values: Any) -> Provider:
        for path, body in (
            (self.idp, {"identity_provider": {"enabled": True, "domain_id": "default"} | values}),
            (f"{ROOT}/mappings/{self.name}", {"mapping": {"rules": rules}}),
            (f"{self.idp}/protocols/openid", {"protocol": {"mapping_id": self.name, "remote_id_attribute": "HTTP_OIDC_ISS"}}),
        ):
            answer = await self.admin.put(path, json=body)
            assert answer.status_code == 201, answer.text
        return self

    async def arrive(self, secret: str = SECRET, method: str = "GET", **said: str) -> httpx.Response:
        headers = {"X-Assertion-Secret": secret} | {f"X-Assertion-{name.replace('_', '-')}": value for name, value in said.items()}
        return await self.cloud.anonymous.request(method, f"{self.idp}/protocols/openid/auth", headers=headers)


async def test_objects_are_made_changed_and_removed(cloud: Keystone) -> None:
    admin, made = cloud.admin, await Provider(cloud, "objects").set_up(remote_ids=["https://objects"])
    shown = (await admin.get(made.idp)).json()["identity_provider"]
    assert (shown["enabled"], shown["remote_ids"], shown["domain_id"]) == (True, ["https://objects"], "default")
    assert (await admin.put(made.idp, json={"identity_provider": {}})).status_code == 409
    assert (await admin.put(f"{ROOT}/identity_providers/twin", json={"identity_provider": {"remote_ids": ["https://objects"]}})).status_code == 409
    assert (await admin.get(f"{ROOT}/identity_providers/twin")).status_code == 404
    assert (await admin.patch(made.idp, json={"identity_provider": {"domain_id": "other"}})).status_code == 400
    assert (await admin.patch(made.idp, json={"identity_provider": {"nonesuch": 1}})).status_code == 400
    assert (await admin.patch(made.idp, json={"identity_provider": {"description": "x"}})).json()["identity_provider"]["description"] == "x"
    assert "objects" in [p["id"] for p in (await admin.get(f"{ROOT}/identity_providers?enabled=true")).json()["identity_providers"]]
    assert [p["id"] for p in (await admin.get(f"{made.idp}/protocols")).json()["protocols"]] == ["openid"]
    protocol = f"{made.idp}/protocols/openid"
    assert (await admin.patch(protocol, json={"protocol": {"mapping_id": "nonesuch"}})).status_code == 400
    assert (await admin.get(protocol)).json()["protocol"]["mapping_id"] == "objects"
    mapping = f"{ROOT}/mappings/objects"
    assert (await admin.patch(mapping, json={"mapping": {"rules": []}})).status_code == 400
    assert (await admin.patch(mapping, json={"mapping": {"rules": RULES[:1]}})).json()["mapping"]["rules"] == RULES[:1]
    assert (await admin.patch(mapping, json={"mapping": {"rules": RULES, "schema_version": None}})).json()["mapping"]["schema_version"] == "1.0"
    assert "objects" in [m["id"] for m in (await admin.get(f"{ROOT}/mappings")).json()["mappings"]]
    for path in (protocol, made.idp, mapping):
        assert (await admin.delete(path)).status_code == 204 and (await admin.get(path)).status_code == 404


async def test_a_provider_without_a_domain_gets_its_own(cloud: Keystone) -> None:
    made = (await cloud.admin.put(f"{ROOT}/identity_providers/alone", json={"identity_provider": {}})).json()["identity_provider"]
    assert made["enabled"] is False and (await cloud.admin.get(f"/v3/domains/{made['domain_id']}")).status_code == 200
    await cloud.admin.patch(f"/v3/domains/{made['domain_id']}", json={"domain": {"enabled": False}})
    assert (await cloud.admin.delete(f"/v3/domains/{made['domain_id']}")).status_code == 204
    assert (await cloud.admin.get(f"{ROOT}/identity_providers/alone")).status_code == 404


async def test_service_providers_are_kept(cloud: Keystone) -> None:
    path = f"{ROOT}/service_providers/far"
    body = {"service_provider": {"auth_url": "https://far/auth", "sp_url": "https://far/sp"}}
    assert (await cloud.admin.put(path, json={"service_provider": {"sp_url": "https://far"}})).status_code == 400
    assert (await cloud.admin.put(path, json=body)).json()["service_provider"]["relay_state_prefix"] == "ss:mem:"
    assert (await cloud.admin.patch(path, json={"service_provider": {"enabled": True}})).json()["service_provider"]["enabled"] is True
    assert [s["id"] for s in (await cloud.admin.get(f"{ROOT}/service_providers?enabled=1")).json()["service_providers"]] == ["far"]
    assert (await cloud.admin.delete(path)).status_code == 204 and (await cloud.admin.get(path)).status_code == 404


async def test_a_user_whom_the_proxy_vouches_for_gets_the_groups_that_the_mapping_gives(cloud: Keystone) -> None:
    provider = await Provider(cloud, "corp").set_up()
    group = await cloud.make("group", name="developers")
    project = await cloud.make("project", name="federated")
    role = await cloud.role_id("member")
    await cloud.admin.put(f"/v3/projects/{project['id']}/groups/{group['id']}/roles/{role}")
    first = await provider.arrive(OIDC_NAME="ada", OIDC_GROUPS="developers;nonesuch")
    token = first.json()["token"]
    assert first.status_code == 201 and token["methods"] == ["mapped"] and token["user"]["name"] == "ada"
    assert token["user"]["OS-FEDERATION"] == {"identity_provider": {"id": "corp"}, "protocol": {"id": "openid"}, "groups": [{"id": group["id"]}]}
    unscoped = first.headers["X-Subject-Token"]
    for path in ("/v3/auth/projects", f"{ROOT}/projects"):
        assert [p["id"] for p in (await cloud.client(unscoped).get(path)).json()["projects"]] == [project["id"]]
    scoped = await cloud.ask(token_auth(unscoped, {"project": {"id": project["id"]}}))
    assert {r["name"] for r in scoped.json()["token"]["roles"]} == {"member", "reader"}
    assert scoped.json()["token"]["user"]["OS-FEDERATION"]["groups"] == [{"id": group["id"]}]
    again = (await provider.arrive(method="POST", OIDC_NAME="ada")).json()["token"]
    assert again["user"]["id"] == token["user"]["id"] and again["user"]["OS-FEDERATION"]["groups"] == []
    assert await cloud.works(scoped.headers["X-Subject-Token"])
    assert (await cloud.admin.patch(provider.idp, json={"identity_provider": {"enabled": False}})).status_code == 200
    assert not await cloud.works(scoped.headers["X-Subject-Token"]) and (await provider.arrive(OIDC_NAME="ada")).status_code == 403


async def test_nobody_but_the_proxy_says_who_somebody_is(cloud: Keystone, shared: Keystone) -> None:
    provider = await Provider(cloud, "guarded").set_up()
    assert (await provider.arrive(secret="", OIDC_NAME="admin")).status_code == 403
    assert (await provider.arrive(secret=SECRET[:-1], OIDC_NAME="admin")).status_code == 403
    without = await Provider(shared, "guarded").set_up()
    assert (await without.arrive(secret="", OIDC_NAME="admin")).status_code == 403, "no proxy is set up"
    assert (await provider.arrive(OIDC_GROUPS="developers")).status_code == 401, "no rule gives a name"
    assert (await provider.arrive(OIDC_NAME="admin")).status_code == 401, "the name is another's, who is not of this provider"


async def test_a_provider_is_known_by_what_it_calls_itself(cloud: Keystone) -> None:
    provider = await Provider(cloud, "named").set_up(remote_ids=["https://named"])
    assert (await provider.arrive(OIDC_NAME="bob", OIDC_ISS="https://named")).status_code == 201
    assert (await provider.arrive(OIDC_NAME="bob", OIDC_ISS="https://other")).status_code == 403
    assert (await provider.arrive(OIDC_NAME="bob")).status_code == 403


async def test_mappings_name_local_users_and_make_projects(cloud: Keystone) -> None:
    local = await somebody(cloud, "lotte", "of-lotte")
    rules = [{"local": [{"user": {"name": "{0}", "type": "local", "domain": {"id": "default"}}}], "remote": [{"type": "HTTP_OIDC_NAME"}]}]
    provider = await Provider(cloud, "locals").set_up(rules)
    assert (await provider.arrive(OIDC_NAME="lotte")).json()["token"]["user"]["id"] == local.id
    assert (await provider.arrive(OIDC_NAME="nobody")).status_code == 401
    projects = [{"local": [{"user": {"name": "{0}"}}, {"projects": [{"name": "of {0}", "roles": [{"name": "member"}]}]}], "remote": [{"type": "HTTP_OIDC_NAME"}]}]
    provider = await Provider(cloud, "makers").set_up(projects)
    token = (await provider.arrive(OIDC_NAME="max")).headers["X-Subject-Token"]
    assert [p["name"] for p in (await cloud.client(token).get("/v3/auth/projects")).json()["projects"]] == ["of max"]
    user = (await cloud.client(token).get("/v3/auth/tokens", headers={"X-Subject-Token": token})).json()["token"]["user"]["id"]
    assert (await cloud.admin.delete(f"/v3/users/{user}")).status_code == 204 and not await cloud.works(token)
    assert (await provider.arrive(OIDC_NAME="max")).json()["token"]["user"]["id"] != user
