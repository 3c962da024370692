"""What the Keystone of the tests has: something of every kind, made by its own API."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx
from tests.keystone.real import PASSWORD, Keystone, token

HASHES = ("bcrypt", "bcrypt_sha256", "scrypt", "pbkdf2_sha512")
RULES = [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "REMOTE_USER"}]}]


@dataclass
class World:
    """ids: by kind and name. passwords: of users. secret: of the application credential."""

    ids: dict[str, str] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)
    secret: str = ""


class Filler:
    def __init__(self, client: httpx.Client):
        self.client = client
        self.world = World()

    def post(self, path: str, kind: str, name: str, **values: Any) -> str:
        """Make something; its id, also kept as "kind/name"."""
        answer = self.client.post(f"/v3/{path}", json={kind: {"name": name, **values}})
        assert answer.status_code == 201, answer.text
        self.world.ids[f"{kind}/{name}"] = answer.json()[kind]["id"]
        return str(self.world.ids[f"{kind}/{name}"])

    def put(self, path: str, json: Any = None) -> None:
        answer = self.client.put(f"/v3/{path}", json=json)
        assert answer.status_code in (200, 201, 204), answer.text

    def patch(self, path: str, json: Any) -> None:
        answer = self.client.patch(f"/v3/{path}", json=json)
        assert answer.status_code == 200, answer.text

    def user(self, name: str, domain: str, **values: Any) -> str:
        self.world.passwords[name] = f"the password of {name}"
        return self.post("users", "user", name, domain_id=domain, password=self.world.passwords[name], **values)


def fill(keystone: Keystone) -> World:
    with keystone.api() as client:
        filler = Filler(client)
        for kind in ("role", "user", "project"):
            for found in client.get(f"/v3/{kind}s").json()[f"{kind}s"]:
                filler.world.ids[f"{kind}/{found['name']}"] = found["id"]
        filler.world.passwords["admin"] = PASSWORD
        _people(filler)
        _assignments(filler)
        _catalogue(filler)
        _federation(filler)
        _credentials(filler)
    for kind in HASHES:
        name, made = f"hashed-{kind}", keystone.hash(kind, f"secret of {kind}")
        filler.world.passwords[name] = f"secret of {kind}"
        keystone.mariadb.sql(f"UPDATE password SET password_hash = '{made}' WHERE local_user_id = (SELECT id FROM local_user WHERE name = '{name}')", "keystone")
    return filler.world


def _people(to: Filler) -> None:
    corp = to.post("domains", "domain", "corp", description="Ours, since 1999")
    web = to.post("projects", "project", "web", domain_id=corp, tags=["blue", "old"], options={"immutable": True}, cost_centre="42")
    to.post("projects", "project", "web-test", domain_id=corp, parent_id=web, enabled=False)
    ada = to.user("ada", corp, email="ada@example.org", default_project_id=web, options={"lock_password": True})
    to.patch(f"users/{ada}", {"user": {"password": "the second of ada"}})
    to.world.passwords["ada"] = "the second of ada"
    to.user("bob", corp, enabled=False)
    for kind in HASHES:
        user = to.user(f"hashed-{kind}", "default")
        to.put(f"projects/{to.world.ids['project/admin']}/users/{user}/roles/{to.world.ids['role/reader']}")
    group = to.post("groups", "group", "staff", domain_id=corp, description="All of us")
    to.put(f"groups/{group}/users/{ada}")


def _assignments(to: Filler) -> None:
    ids = to.world.ids
    ada, corp, web, staff = ids["user/ada"], ids["domain/corp"], ids["project/web"], ids["group/staff"]
    auditor = to.post("roles", "role", "auditor", description="Looks", options={"immutable": True})
    own = to.post("roles", "role", "captain", domain_id=corp)
    to.put(f"roles/{auditor}/implies/{ids['role/reader']}")
    to.put(f"roles/{own}/implies/{ids['role/member']}")
    to.put(f"projects/{web}/users/{ada}/roles/{ids['role/member']}")
    to.put(f"domains/{corp}/groups/{staff}/roles/{auditor}")
    to.put(f"OS-INHERIT/domains/{corp}/groups/{staff}/roles/{ids['role/reader']}/inherited_to_projects")
    to.put(f"OS-INHERIT/projects/{web}/users/{ada}/roles/{auditor}/inherited_to_projects")
    to.put(f"system/users/{ada}/roles/{ids['role/reader']}")
    to.put(f"projects/{web}/users/{ada}/roles/{own}")


def _catalogue(to: Filler) -> None:
    ids = to.world.ids
    to.put("regions/north", {"region": {"description": "Cold"}})
    swift = to.post("services", "service", "swift", type="object-store", description="Things")
    nova = to.post("services", "service", "nova", type="compute")
    endpoint = to.client.post("/v3/endpoints", json={"endpoint": {
        "service_id": swift, "interface": "public", "region_id": "north", "url": "http://swift.example/v1/AUTH_%(project_id)s"}})  # fmt: skip
    ids["endpoint/swift"] = endpoint.json()["endpoint"]["id"]
    to.client.post("/v3/endpoints", json={"endpoint": {"service_id": nova, "interface": "public", "region_id": "RegionOne", "url": "http://old/v2.1"}})
    group = to.post("OS-EP-FILTER/endpoint_groups", "endpoint_group", "storage", filters={"service_id": swift})
    to.put(f"OS-EP-FILTER/endpoint_groups/{group}/projects/{ids['project/web']}")
    policy = to.client.post("/v3/policies", json={"policy": {"type": "text/plain", "blob": "be kind"}}).json()["policy"]
    ids["policy/kind"] = policy["id"]
    to.put(f"policies/{policy['id']}/OS-ENDPOINT-POLICY/services/{swift}")
    registered = to.client.post("/v3/registered_limits", json={"registered_limits": [
        {"service_id": nova, "resource_name": "servers", "default_limit": 7, "region_id": None}]})  # fmt: skip
    assert registered.status_code == 201, registered.text
    limit = to.client.post("/v3/limits", json={"limits": [
        {"service_id": nova, "resource_name": "servers", "resource_limit": 5, "project_id": ids["project/web"], "region_id": None}]})  # fmt: skip
    assert limit.status_code == 201, limit.text
    ids["limit/servers"] = limit.json()["limits"][0]["id"]


def _federation(to: Filler) -> None:
    to.put("OS-FEDERATION/mappings/people", {"mapping": {"rules": RULES}})
    to.put("OS-FEDERATION/identity_providers/partner", {"identity_provider": {
        "domain_id": to.world.ids["domain/corp"], "enabled": True, "remote_ids": ["https://partner.example"]}})  # fmt: skip
    to.put("OS-FEDERATION/identity_providers/partner/protocols/openid", {"protocol": {"mapping_id": "people"}})
    to.put("OS-FEDERATION/service_providers/other", {"service_provider": {"auth_url": "http://o/v3", "sp_url": "http://o/sp", "enabled": True}})
    to.put(f"domains/{to.world.ids['domain/corp']}/config", {"config": {"identity": {"driver": "sql"}, "ldap": {"url": "ldap://d", "password": "p"}}})


def _credentials(to: Filler) -> None:
    ids = to.world.ids
    ada, web, corp = ids["user/ada"], ids["project/web"], ids["domain/corp"]
    for type_, blob, project in (("totp", "GEZDGNBVGY3TQOJQ", None), ("ec2", '{"access": "AK", "secret": "SK"}', web)):
        answer = to.client.post("/v3/credentials", json={"credential": {"type": type_, "blob": blob, "user_id": ada, "project_id": project}})
        assert answer.status_code == 201, answer.text
        ids[f"credential/{type_}"] = answer.json()["credential"]["id"]
    mine = {"X-Auth-Token": token(to.client, "ada", to.world.passwords["ada"], "web", corp)}
    wanted = {"name": "robot", "roles": [{"name": "member"}], "access_rules": [{"service": "identity", "method": "GET", "path": "/v3/users/*"}]}
    made = to.client.post(f"/v3/users/{ada}/application_credentials", json={"application_credential": wanted}, headers=mine)
    assert made.status_code == 201, made.text
    ids["application_credential/robot"], to.world.secret = made.json()["application_credential"]["id"], made.json()["application_credential"]["secret"]
    trust = {"trustor_user_id": ada, "trustee_user_id": ids["user/admin"], "project_id": web, "impersonation": True, "roles": [{"name": "member"}]}
    answer = to.client.post("/v3/OS-TRUST/trusts", json={"trust": trust}, headers=mine)
    assert answer.status_code == 201, answer.text
    ids["trust"] = answer.json()["trust"]["id"]
