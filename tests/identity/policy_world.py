"""Something of everything that Keystone's rules are about, in one domain, and people with each role on each scope."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import httpx
from msgspec import Struct
from tests.identity.conftest import Keystone, Someone
from tests.identity.test_oauth1 import Consumer, Scene

SCOPES, ROLES = ("system", "domain", "project"), ("admin", "manager", "member", "reader")
PASSWORD = "correct horse"
TABLE = Path(__file__).with_name("policy_operations.tsv")


class Operation(Struct, frozen=True):
    rule: str
    method: str
    path: str


def operations() -> list[Operation]:
    """policy_operations.tsv: what each of Keystone's rules guards, as Keystone documents it. HEAD is GET's, where a rule guards both."""
    found = []
    for line in TABLE.read_text().splitlines()[1:]:
        rule, _, places = line.partition("\t")
        for place in filter(None, places.split(";")):
            methods, _, path = place.partition(" ")
            found += [Operation(rule, method, path) for method in methods.split(",") if method != "HEAD" or "GET" not in places]
    return list(dict.fromkeys(found))


class Case(Struct):
    """A request, and what the rule reads of what it is about."""

    path: str
    body: Any = None
    headers: dict[str, str] = {}
    target: dict[str, Any] = {}
    variables: dict[str, str] = {}


class World:
    """admin: who makes things. people: a client by "scope role", "nobody" without any role."""

    def __init__(self, keystone: Keystone):
        self.keystone, self.admin, self.people = keystone, keystone.admin, dict[str, httpx.AsyncClient]()
        self._count = itertools.count()

    def name(self) -> str:
        return f"thing{next(self._count)}"

    async def post(self, path: str, body: Any, key: str) -> dict[str, Any]:
        answer = await self.admin.post(path, json=body)
        assert answer.is_success, (path, body, answer.text)
        found = answer.json()[key]
        return found[0] if isinstance(found, list) else found

    async def make(self, kind: str, **values: Any) -> dict[str, Any]:
        plural = kind[:-1] + "ies" if kind.endswith("y") else kind + "s"
        return await self.post(f"/v3/{plural}", {kind: values}, kind)

    async def set_up(self) -> World:
        admin = await self.keystone.token("admin", self.keystone.password, {"system": {"all": True}})
        self.system, self.admin = self.keystone.client(admin), self.keystone.admin
        self.domain = (await self.make("domain", name="acme"))["id"]
        self.project = (await self.make("project", name="works", domain_id=self.domain))["id"]
        self.roles = {name: await self.keystone.role_id(name) for name in (*ROLES, "service")}
        on = {"system": "system", "domain": f"domains/{self.domain}", "project": f"projects/{self.project}"}
        scope = {"system": {"system": {"all": True}}, "domain": {"domain": {"id": self.domain}}, "project": {"project": {"id": self.project}}}
        for kind in SCOPES:
            for role in ROLES:
                user = await self.user(f"{kind}-{role}")
                await self.keystone.grant(user["id"], role, on[kind])
                self.people[f"{kind} {role}"] = self.keystone.client(await self.token(user["id"], scope[kind]))
        nobody = await self.user("nobody")
        self.people["nobody"] = self.keystone.client(await self.token(nobody["id"]))
        self.other = Someone(await self.user("other"), {"id": self.project}, "")
        await self.keystone.grant(self.other.id, "admin", on["project"])
        self.other.token = await self.token(self.other.id, scope["project"])
        self.here = self.keystone.client(self.other.token)
        self.service = (await self.make("service", type="thing", name="thing"))["id"]
        self.compute = (await self.admin.get("/v3/services?type=compute")).json()["services"][0]["id"]
        consumer = await self.post("/v3/OS-OAUTH1/consumers", {"consumer": {}}, "consumer")
        self.scene = Scene(self.keystone, Consumer(self.keystone, consumer), self.other)
        limit = {"service_id": self.service, "resource_name": "all", "default_limit": 10}
        await self.post("/v3/registered_limits", {"registered_limits": [limit]}, "registered_limits")
        return self

    async def user(self, name: str) -> dict[str, Any]:
        return await self.make("user", name=name, password=PASSWORD, domain_id=self.domain)

    async def token(self, user_id: str, scope: Any = None) -> str:
        who = {"methods": ["password"], "password": {"user": {"id": user_id, "password": PASSWORD}}}
        answer = await self.keystone.ask({"auth": {"identity": who} | ({"scope": scope} if scope else {})})
        assert answer.status_code == 201, answer.text
        return answer.headers["X-Subject-Token"]

    async def put(self, path: str, body: Any = None) -> None:
        answer = await self.admin.put(path, json=body)
        assert answer.is_success, (path, answer.text)

    async def case(self, op: Operation) -> Case:
        """A new one of what the operation is about, and the request. Associations are there before they are looked at."""
        rule = op.rule.removeprefix("identity:")
        case = Case(op.path)
        for variable in dict.fromkeys(re.findall(r"\{(\w+)\}", op.path)):
            value = await self._value(variable, rule, op, case)
            case.variables[variable] = value
        case.path = op.path.format(**case.variables)
        if rule == "list_role_assignments_for_tree":
            case.path += f"&scope.project.id={self.project}"
            case.target |= {"domain_id": self.domain}
        if rule == "create_limits":
            case.variables["fresh"] = (await self.make("project", name=self.name(), domain_id=self.domain))["id"]
        case.body = self._body(rule, op, case)
        if re.search(r"/config(/|$)", op.path) and rule not in ("create_domain_config",) and "default" not in op.path:
            config = {"ldap": {"url": "ldap://x"}, "identity": {"driver": "sql"}}
            await self.put(f"/v3/domains/{case.variables['domain_id']}/config", {"config": config})
        elif op.method in ("GET", "HEAD", "DELETE") and ASSOCIATIONS.search(op.path) and not re.match("/v3/(OS-TRUST|roles/.role_id.$|users)", op.path):
            await self.put(case.path)
        if "endpoint_id" in case.variables and rule == "get_policy_for_endpoint":
            policy = (await self.make("policy", type="x", blob="x"))["id"]
            await self.put(f"/v3/policies/{policy}/OS-ENDPOINT-POLICY/endpoints/{case.variables['endpoint_id']}")
        return case

    async def _value(self, variable: str, rule: str, op: Operation, case: Case) -> str:
        kind = variable.removesuffix("_id")
        if variable in ("group", "option", "value"):
            return {"group": "ldap", "option": "password_regex" if "security" in op.path else "url", "value": "tag"}[variable]
        if variable in ("trustor_user_id", "trustee_user_id"):
            case.target["trust"] = {variable: self.other.id}
            return self.other.id
        if "implied" in rule and kind in ("prior_role", "implied_role"):
            made = await self.make("role", name=self.name())
            case.target[kind] = made
            return made["id"]
        made = await getattr(self, f"_{kind}")(rule, op, case)
        return made if isinstance(made, str) else made["id"]

    async def _user(self, rule: str, op: Operation, case: Case) -> str:
        if any(word in op.path for word in ("OS-EC2", "access_rules", "access_tokens", "application_credentials")):
            case.target["user"] = {"id": self.other.id, "domain_id": self.domain}
            return self.other.id
        case.target["user"] = made = await self.user(self.name())
        return made["id"]

    async def _group(self, rule: str, op: Operation, case: Case) -> str:
        case.target["group"] = made = await self.make("group", name=self.name(), domain_id=self.domain)
        return made["id"]

    async def _project(self, rule: str, op: Operation, case: Case) -> str:
        case.target["project"] = made = await self.make("project", name=self.name(), domain_id=self.domain)
        return made["id"]

    async def _domain(self, rule: str, op: Operation, case: Case) -> str:
        found = {"id": self.domain}
        if rule == "delete_domain":
            found = await self.make("domain", name=self.name(), enabled=False)
        case.target["domain"] = found
        return found["id"]

    async def _role(self, rule: str, op: Operation, case: Case) -> str:
        if not re.search(r"/v3/roles/", op.path):
            case.target["role"] = {"id": self.roles["member"], "name": "member", "domain_id": None}
            return self.roles["member"]
        domain = {"domain_id": self.domain} if "domain_role" in rule else {}
        case.target["role"] = made = await self.make("role", name=self.name(), **domain)
        return made["id"]

    async def _region(self, rule: str, op: Operation, case: Case) -> str:
        return self.name() if rule == "create_region" else (await self.make("region", id=self.name()))["id"]

    async def _service(self, rule: str, op: Operation, case: Case) -> str:
        return (await self.make("service", type=self.name(), name="x"))["id"]

    async def _endpoint(self, rule: str, op: Operation, case: Case) -> str:
        return (await self.make("endpoint", service_id=self.service, interface="public", url="http://x"))["id"]

    async def _policy(self, rule: str, op: Operation, case: Case) -> str:
        return (await self.make("policy", type="x", blob="x"))["id"]

    async def _credential(self, rule: str, op: Operation, case: Case) -> str:
        if "OS-EC2" in op.path:
            case.target["credential"] = {"user_id": self.other.id}
            made = await self.here.post(f"/v3/users/{self.other.id}/credentials/OS-EC2", json={"tenant_id": self.project})
            return made.json()["credential"]["access"]
        case.target["credential"] = made = await self.make("credential", type="cert", blob="x", user_id=self.other.id)
        return made["id"]

    async def _consumer(self, rule: str, op: Operation, case: Case) -> str:
        return (await self.post("/v3/OS-OAUTH1/consumers", {"consumer": {}}, "consumer"))["id"]

    async def _request_token(self, rule: str, op: Operation, case: Case) -> str:
        return (await self.scene.consumer.request_token(self.project))["oauth_token"]

    async def _access_token(self, rule: str, op: Operation, case: Case) -> str:
        return (await self.scene.access("member"))[0]

    async def _application_credential(self, rule: str, op: Operation, case: Case) -> str:
        body = {"application_credential": {"name": self.name(), "access_rules": [{"service": "x", "method": "GET", "path": f"/{self.name()}"}]}}
        return (await self.here.post(f"/v3/users/{self.other.id}/application_credentials", json=body)).json()["application_credential"]["id"]

    async def _access_rule(self, rule: str, op: Operation, case: Case) -> str:
        path = f"/v3/users/{self.other.id}"
        made = await self._application_credential(rule, op, case)
        shown = (await self.here.get(f"{path}/application_credentials/{made}")).json()["application_credential"]
        assert (await self.here.delete(f"{path}/application_credentials/{made}")).status_code == 204
        return shown["access_rules"][0]["id"]

    async def _endpoint_group(self, rule: str, op: Operation, case: Case) -> str:
        return (await self.post("/v3/OS-EP-FILTER/endpoint_groups", {"endpoint_group": {"name": "x", "filters": {"region_id": "none"}}}, "endpoint_group"))["id"]

    async def _registered_limit(self, rule: str, op: Operation, case: Case) -> str:
        limit = {"service_id": self.service, "resource_name": self.name(), "default_limit": 1}
        return (await self.post("/v3/registered_limits", {"registered_limits": [limit]}, "registered_limits"))["id"]

    async def _limit(self, rule: str, op: Operation, case: Case) -> str:
        project = await self._project(rule, op, case)
        limit = {"service_id": self.service, "resource_name": "all", "resource_limit": 1, "project_id": project}
        case.target["limit"] = {"project_id": project, "project": {"domain_id": self.domain}}
        return (await self.post("/v3/limits", {"limits": [limit]}, "limits"))["id"]

    async def _federated(self, path: str, kind: str, body: dict[str, Any], creating: bool) -> str:
        name = self.name()
        if not creating:
            await self.put(f"/v3/OS-FEDERATION/{path}/{name}", {kind: body})
        return name

    async def _idp(self, rule: str, op: Operation, case: Case) -> str:
        return await self._federated("identity_providers", "identity_provider", {"domain_id": self.domain}, rule == "create_identity_provider")

    async def _mapping(self, rule: str, op: Operation, case: Case) -> str:
        return await self._federated("mappings", "mapping", BODIES["mapping"], rule == "create_mapping")

    async def _service_provider(self, rule: str, op: Operation, case: Case) -> str:
        return await self._federated("service_providers", "service_provider", BODIES["service_provider"], rule == "create_service_provider")

    async def _protocol(self, rule: str, op: Operation, case: Case) -> str:
        await self.admin.put("/v3/OS-FEDERATION/mappings/shared", json={"mapping": BODIES["mapping"]})
        idp = case.variables["idp_id"]
        return await self._federated(f"identity_providers/{idp}/protocols", "protocol", BODIES["protocol"], rule == "create_protocol")

    async def _trust(self, rule: str, op: Operation, case: Case) -> str:
        trust = {"trustor_user_id": self.other.id, "trustee_user_id": self.other.id, "project_id": self.project, "impersonation": False,
                 "roles": [{"name": "member"}]}  # fmt: skip
        case.target["trust"] = trust
        made = await self.here.post("/v3/OS-TRUST/trusts", json={"trust": trust})
        assert made.status_code == 201, made.text
        return made.json()["trust"]["id"]

    def _body(self, rule: str, op: Operation, case: Case) -> Any:
        """What POST, PUT and PATCH need; what is made belongs to the domain."""
        if op.method not in ("POST", "PUT", "PATCH"):
            return None
        if rule in SPECIAL:
            body = json.loads(json.dumps(SPECIAL[rule]).replace("@project", self.project).replace("@service", self.service).replace("@other", self.other.id)
                              .replace("@name", self.name()).replace("@fresh", case.variables.get("fresh", "")))  # fmt: skip
        elif "config" in rule:
            body = {"config": {"url": "ldap://y"} if "{option}" in op.path else {"ldap": {"url": "ldap://y"}}}
        else:
            kind = re.sub(r"^(create|update)_(domain_(?=role))?", "", rule)
            given = dict(BODIES.get(kind, {}))
            if op.method == "POST":
                given |= {"name": self.name()} if kind in NAMED else {}
                given |= {"domain_id": self.domain} if kind in OWNED or rule == "create_domain_role" else {}
                given |= {"service_id": self.service} if kind == "endpoint" else {}
                given |= {"user_id": self.other.id} if kind == "credential" else {}
            else:
                given = {k: v for k, v in given.items() if op.method == "PUT" or k not in ("type",)} or {"description": "x"}
            body = {kind: given}
        if rule.startswith("create_") and op.method == "POST":
            case.target |= {key: value for key, value in body.items() if isinstance(value, dict)}
        return body


ASSOCIATIONS = re.compile(r"/(roles/\{role_id\}(/inherited_to_projects)?|groups/\{group_id\}/users/\{user_id\}|tags/\{value\}|implies/\{implied_role_id\}|"
                          r"OS-ENDPOINT-POLICY/(endpoints|services|.*regions)/\{\w+\}|endpoint_groups/\{\w+\}/projects/\{\w+\}|projects/\{\w+\}/endpoints/\{\w+\})$"
                          )  # fmt: skip
NAMED = {"user", "group", "project", "domain", "role", "service", "endpoint_group"}
OWNED = {"user", "group", "project"}
BODIES: dict[str, dict[str, Any]] = {
    "service": {"type": "x"}, "endpoint": {"interface": "public", "url": "http://x"}, "policy": {"type": "x", "blob": "x"},
    "credential": {"type": "cert", "blob": "x"}, "endpoint_group": {"filters": {"region_id": "none"}}, "identity_provider": {"description": "x"},
    "mapping": {"rules": [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "x"}]}]}, "protocol": {"mapping_id": "shared"},
    "service_provider": {"auth_url": "http://x", "sp_url": "http://x"}, "registered_limit": {"default_limit": 2}, "limit": {"resource_limit": 2},
}  # fmt: skip
SPECIAL: dict[str, Any] = {
    "create_registered_limits": {"registered_limits": [{"service_id": "@service", "resource_name": "@name", "default_limit": 1}]},
    "create_limits": {"limits": [{"service_id": "@service", "resource_name": "all", "resource_limit": 1, "project_id": "@fresh"}]},
    "create_application_credential": {"application_credential": {"name": "@name"}}, "ec2_create_credential": {"tenant_id": "@project"},
    "authorize_request_token": {"roles": [{"name": "member"}]}, "update_project_tags": {"tags": ["tag"]},
    "create_trust": {"trust": {"trustor_user_id": "@other", "trustee_user_id": "@other", "project_id": "@project", "impersonation": False,
                               "roles": [{"name": "member"}]}},
    "ec2tokens_validate": {"credentials": {"access": "x", "signature": "x"}}, "s3tokens_validate": {"credentials": {"access": "x", "signature": "x"}},
}  # fmt: skip
