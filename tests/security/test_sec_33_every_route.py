"""SEC-33 (OSSA-2014-008, 2014-031, 2024-005), for every route of every service: nobody reaches what is another project's, and a reader
changes nothing. The routes are the application's own, so a new one is tried from its first day; one below a resource that this file does
not make fails with a word about it. test_sec_29_33_network_authority.py goes on to each attribute of network's resources.
"""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from tests.compute.world import World, world  # noqa: F401 (a fixture)

from moln.kernel.http import Route

VERSIONS = {"OpenStack-API-Version": "compute 2.95, volume 3.70, placement 1.39"}
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
UUID = "11111111-1111-4111-8111-111111111111"
NO_THINGS = {                                      # words before a variable that names no thing of a project's
    "tags", "metadata", "os-extra_specs", "extra_specs", "ips", "extensions", "rule-types", "os-quota-class-sets", "os-console-auth-tokens",
    "resource_classes", "traits", "inventories", "capabilities", "os-hosts", "bindings", "encryption", "group_specs", "versions",
    "os-instance_usage_audit_log", "migrations", "os-baremetal-nodes", "stores", "objects", "properties", "resource_types",
    "websso",                                      # a protocol of sign-in
    "config", "x",                                 # a group of options, and an option of the group x
}  # fmt: skip
OPERATORS = {                                      # those of operators: some are shown to everybody, none is anybody else's to change
    "flavors", "types", "os-aggregates", "os-hypervisors", "os-services", "agents", "default-security-group-rules", "service_profiles",
    "security-groups-default-statefulness", "resource_providers", "domains", "groups", "roles", "implies", "regions", "services", "endpoints",
    "policies", "logs", "tasks", "namespaces", "default-types", "segments", "network_segment_ranges", "network-segment-ranges", "qos-specs", "group_types",
    "endpoint_groups", "identity_providers", "protocols", "mappings", "service_providers", "consumers", "registered_limits", "limits", "authorize",
    "access_tokens", "cache", "nodes",
}  # fmt: skip
PROXIES = {                                        # Nova's and Cinder's other names of the same things
    "os-networks": "networks", "os-tenant-networks": "networks", "os-floating-ips": "floatingips", "os-security-groups": "security-groups",
    "os-security-group-rules": "security-group-rules", "os-volumes": "volumes", "os-snapshots": "snapshots", "os-volumes_boot": "servers",
    "os-simple-tenant-usage": "projects",
}  # fmt: skip
DEFAULTS = "/v2.1/os-quota-sets/{target}/defaults"  # Nova tells everybody what everybody gets
SHOWN_TO_ALL = {"flavors", "types", "extensions", "rule-types", "tags", "os-extra_specs", "extra_specs", "service_profiles"}


class Things:
    """One of each of alice's, by the word before its id in a path. ids: all of them."""

    def __init__(self, world: World):  # noqa: F811
        self.world, self.by_word = world, dict.fromkeys(OPERATORS, UUID)

    @property
    def ids(self) -> set[str]:
        return {id for word, id in self.by_word.items() if word not in OPERATORS}

    async def make(self, word: str, path: str, key: str, client: httpx.AsyncClient | None = None, **body: Any) -> str:
        answer = await (client or self.world.api.member).post(path, json={key: body}, headers=VERSIONS)
        assert answer.status_code < 300, answer.text
        made = answer.json().get(key, answer.json())
        self.by_word[word] = made.get("id") or made.get("access") or made["name"]
        return self.by_word[word]

    async def set_up(self) -> Things:
        world, admin, member, made = self.world, self.world.api.admin, self.world.api.member, self.by_word  # noqa: F811
        token = (await member.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": member.headers["X-Auth-Token"]})).json()["token"]
        me, project = token["user"]["id"], token["project"]["id"]
        made |= {"users": me, "projects": project, "auto-allocated-topology": project, "quotas": project, "os-quota-sets": project}
        await self._networks(admin, project)
        made["servers"] = server = (await world.boot(networks=[{"port": made["ports"]}]))["id"]
        volume = await self.make("volumes", "/volume/v3/volumes", "volume", size=1)
        attached = await world.volume()
        await world.call("POST", f"/servers/{server}/os-volume_attachments", 200, {"volumeAttachment": {"volumeId": attached}})
        await world.settle()
        made["os-interface"], made["os-volume_attachments"] = made["ports"], attached
        found = (await member.get("/volume/v3/attachments", headers={"OpenStack-API-Version": "volume 3.70"})).json()["attachments"]
        made["attachments"] = found[0]["id"]
        await self.make("snapshots", "/volume/v3/snapshots", "snapshot", volume_id=volume)
        await world.settle()
        await self.make("volume-transfers", "/volume/v3/volume-transfers", "transfer", volume_id=await world.volume())
        made["os-volume-transfer"], made["messages"] = made["volume-transfers"], UUID
        image = await member.post("/image/v2/images", json={"name": "alices", "visibility": "private", "disk_format": "raw", "container_format": "bare"})
        made["images"], made["members"] = image.json()["id"], project
        made["x"] = made["images"]  # behind a store
        await member.put(f"/image/v2/images/{made['images']}/file", content=b"alices", headers={"Content-Type": "application/octet-stream"})
        actions = (await member.get(f"/compute/v2.1/servers/{server}/os-instance-actions")).json()["instanceActions"]
        made["os-instance-actions"] = actions[0]["request_id"]
        await self.make("os-keypairs", "/compute/v2.1/os-keypairs", "keypair", name="alices-key", public_key=SSH_KEY)
        await self.make("credentials", "/identity/v3/credentials", "credential", type="totp", blob="alices")
        await self.make("application_credentials", f"/identity/v3/users/{me}/application_credentials", "application_credential", name="alices")
        bound = {"name": "bound", "access_rules": [{"service": "compute", "method": "GET", "path": "/v2.1/servers"}]}
        program = await member.post(f"/identity/v3/users/{me}/application_credentials", json={"application_credential": bound})
        made["access_rules"] = program.json()["application_credential"]["access_rules"][0]["id"]
        lent = {"trustor_user_id": me, "trustee_user_id": me, "project_id": project, "impersonation": False, "roles": [{"name": "member"}]}
        await self.make("trusts", "/identity/v3/OS-TRUST/trusts", "trust", **lent)
        ec2 = await member.post(f"/identity/v3/users/{me}/credentials/OS-EC2", json={"tenant_id": project})
        made["OS-EC2"], made["allocations"] = ec2.json()["credential"]["access"], server
        made["flavors"], made["system"] = world.small, "users"
        group = {"server_group": {"name": "alices", "policy": "affinity"}}
        made["os-server-groups"] = (await world.call("POST", "/os-server-groups", 200, group))["server_group"]["id"]
        backup = await member.post("/volume/v3/backups", json={"backup": {"volume_id": volume}})
        made["backups"] = backup.json()["backup"]["id"] if backup.is_success else UUID
        made["group_snapshots"] = UUID
        for proxy, word in PROXIES.items():
            made[proxy] = made[word]
        await world.settle()
        return self

    async def _networks(self, admin: httpx.AsyncClient, project: str) -> None:
        world, v2, made = self.world, "/network/v2.0", self.by_word  # noqa: F811
        made["networks"], made["subnets"], made["network-ip-availabilities"] = world.network, world.subnet, world.network
        await self.make("ports", f"{v2}/ports", "port", network_id=world.network, name="alices")
        router = await self.make("routers", f"{v2}/routers", "router", name="alices")
        outer = await self.make("", f"{v2}/networks", "network", admin, **{"router:external": True, "name": "outer"})
        await self.make("", f"{v2}/subnets", "subnet", admin, network_id=outer, cidr="203.0.113.0/24", ip_version=4, enable_dhcp=False)
        assert (await world.api.member.put(f"{v2}/routers/{router}", json={"router": {"external_gateway_info": {"network_id": outer}}})).is_success
        assert (await world.api.member.put(f"{v2}/routers/{router}/add_router_interface", json={"subnet_id": world.subnet})).is_success
        fip = await self.make("floatingips", f"{v2}/floatingips", "floatingip", floating_network_id=outer)
        del made[""]
        inner = (await world.neutron("GET", f"/ports/{made['ports']}"))["port"]["fixed_ips"][0]["ip_address"]
        await self.make("port_forwardings", f"{v2}/floatingips/{fip}/port_forwardings", "port_forwarding", protocol="tcp", internal_port=22,
                        internal_ip_address=inner, internal_port_id=made["ports"], external_port=2222)  # fmt: skip
        group = await self.make("security-groups", f"{v2}/security-groups", "security_group", name="alices")
        await self.make("security-group-rules", f"{v2}/security-group-rules", "security_group_rule", security_group_id=group, direction="ingress")
        await self.make("subnetpools", f"{v2}/subnetpools", "subnetpool", name="alices", prefixes=["10.0.0.0/9"])
        await self.make("address-scopes", f"{v2}/address-scopes", "address_scope", name="alices", ip_version=4)
        await self.make("address-groups", f"{v2}/address-groups", "address_group", name="alices")
        parent = (await world.neutron("POST", "/ports", {"port": {"network_id": world.network}}))["port"]["id"]
        await self.make("trunks", f"{v2}/trunks", "trunk", name="alices", port_id=parent)
        share = {"object_type": "security_group", "object_id": group, "action": "access_as_shared", "target_tenant": "green"}
        await self.make("rbac-policies", f"{v2}/rbac-policies", "rbac_policy", **share)
        await self.make("logs", f"{v2}/log/logs", "log", admin, name="alices", resource_type="security_group", resource_id=group, project_id=project)
        qos = await self.make("qos/policies", f"{v2}/qos/policies", "policy", admin, name="alices", project_id=project)
        for kind, rule in (("bandwidth_limit", {"max_kbps": 1000}), ("dscp_marking", {"dscp_mark": 10}), ("minimum_bandwidth", {"min_kbps": 9})):
            word = f"{kind}_rules"
            made[f"alias_{word}"] = await self.make(word, f"{v2}/qos/policies/{qos}/{word}", f"{kind}_rule", admin, **rule)

    def path(self, route: Route) -> tuple[str, list[str]]:
        """The route's address with alice's ids in it, and the words before them."""
        parts, words = (route.service.prefix + route.path).split("/"), []
        for at, part in enumerate(parts):
            if not part.startswith("{"):
                continue
            word = parts[at - 1]
            word = f"qos/{word}" if word == "policies" and "qos" in parts else word
            words.append(word)
            parts[at] = self.by_word.get(word, "x" if word in NO_THINGS else UUID)
        return "/".join(parts), words

    async def seen(self) -> dict[str, Any]:
        """All that alice sees of hers, without what tells the time."""
        found = {}
        for route in self.world.api.app.routes:
            path, words = self.path(route)
            if route.method == "GET" and words and not route.public and not set(words) & (OPERATORS - {"flavors"} | {"os-simple-tenant-usage"}):
                answer = await self.world.api.member.get(path, headers=versions(route))
                found[path] = (answer.status_code, UNSTEADY.sub("", answer.text))
        return found


SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPrvVGzM9jdJ4S3eQJ2Qe3cXb8x0u6oXQ3mYz7b0y1aB me"
UNSTEADY = re.compile(r'"(request_id|x-openstack-request-id)":\s*"[^"]*"|req-[0-9a-f-]{36}|"(start|stop|uptime|hours|total_\w+)":("[^"]*"|[0-9.e-]+)')


@pytest.fixture
async def things(world: World) -> Things:  # noqa: F811
    return await Things(world).set_up()


def bodies(route: Route, words: list[str]) -> list[Any]:
    """What a caller might send: enough of it to get past the form where a form is plain."""
    if route.method not in ("POST", "PUT", "PATCH"):
        return [None]
    if route.action:
        return [{route.action: None}, {route.action: {}}, {route.action: {"name": "x", "status": "error", "new_size": 2, "type": "SOFT"}}]
    last = [part for part in route.path.split("/") if part and not part.startswith("{")][-1].replace("-", "_")
    single = last.removesuffix("ies") + "y" if last.endswith("ies") else last.removesuffix("s")
    if route.service.name == "image" and route.method == "PATCH":
        return [[{"op": "replace", "path": "/name", "value": "stolen"}]]
    return [{single: {"name": "stolen"}}, {last: {"x": "stolen"}} if last in ("metadata", "extra_specs") else {last: ["stolen"]}, {}]


def versions(route: Route) -> dict[str, str]:
    """What is there no more at the newest is tried at its last."""
    if route.service.name == "compute" and route.until < (2, 95):
        return {"OpenStack-API-Version": f"compute {route.until[0]}.{route.until[1]}"}
    return VERSIONS


async def ask(client: httpx.AsyncClient, route: Route, path: str, body: Any) -> httpx.Response:
    headers = versions(route) | (PATCH if route.service.name == "image" and route.method == "PATCH" else {"Content-Type": "application/json"})
    return await client.request(route.method, path, content=None if body is None else json.dumps(body), headers=headers)


async def test_every_word_before_an_id_is_explained(world: World, things: Things) -> None:  # noqa: F811
    unknown = {word: route.path for route in world.api.app.routes for word in things.path(route)[1] if word not in things.by_word and word not in NO_THINGS}
    assert unknown == {}, "make one of alice's in Things.set_up(), or say in OPERATORS or NO_THINGS why not"


async def test_nobody_without_a_token_reaches_anything(world: World, things: Things) -> None:  # noqa: F811
    for route in world.api.app.routes:
        path, words = things.path(route)
        answer = await ask(world.api.anonymous, route, path, bodies(route, words)[0])
        if route.public:
            assert not any(id in answer.text for id in things.ids), path
        else:
            assert answer.status_code == 401, (route.method, path, answer.status_code, answer.text)


async def test_another_project_reaches_nothing_of_ones_own(world: World, things: Things) -> None:  # noqa: F811
    """Neither to read nor to change; no list shows a thing of another's, nor does any fault."""
    mallory = await world.api.add_user("mallory", project="other")
    before = await things.seen()
    told = []
    for route in world.api.app.routes:
        path, words = things.path(route)
        if route.path == DEFAULTS:
            continue
        for body in bodies(route, words):
            answer = await ask(mallory, route, path, body)
            assert answer.status_code < 500, (route.method, path, answer.text)
            if answer.is_success and words and not (route.method in ("GET", "HEAD") and set(words) <= SHOWN_TO_ALL):
                told.append((route.method, path, body, answer.status_code))
            shown = answer.text.replace(path, "").replace(things.by_word["flavors"], "")
            if answer.is_success and any(id in shown for id in things.ids):
                told.append((route.method, path, body, "shows", [word for word, id in things.by_word.items() if id in shown]))
    assert told == [], json.dumps(told, indent=1)
    await world.settle()
    after = await things.seen()
    changed = {path: (before[path], after[path]) for path in before if before[path] != after[path]}
    assert changed == {}, json.dumps(changed, indent=1)


READS = {"os-show_image_metadata"}  # actions that only tell
READERS_OWN = re.compile(r"/identity/v3/(auth/tokens|users/[^/]+/(password|application_credentials|credentials)|credentials)|/compute/v2.1/os-keypairs")


async def test_a_reader_of_the_project_changes_nothing(world: World, things: Things) -> None:  # noqa: F811
    """But what is a person's own: a password, keys and credentials."""
    reader = await world.api.add_user("rita", project="demo", role="reader")
    before = await things.seen()
    done = []
    for route in world.api.app.routes:
        path, words = things.path(route)
        if route.method in ("GET", "HEAD") or route.action in READS or READERS_OWN.search(route.service.prefix + route.path) or READERS_OWN.search(path):
            continue
        for body in bodies(route, words):
            answer = await ask(reader, route, path, body)
            if answer.is_success:
                done.append((route.method, path, body, answer.status_code, answer.text[:200]))
    assert done == [], json.dumps(done, indent=1)
    await world.settle()
    after = await things.seen()
    changed = {path: (before[path], after[path]) for path in before if before[path] != after[path]}
    assert changed == {}, json.dumps(changed, indent=1)


async def test_the_owner_gets_far_with_the_same_requests(world: World, things: Things) -> None:  # noqa: F811
    """So what the others were refused was worth refusing."""
    changed = set()
    for route in sorted(world.api.app.routes, key=lambda route: route.method == "DELETE"):
        path, words = things.path(route)
        if words and route.method not in ("GET", "HEAD") and "auth" not in path:
            for body in bodies(route, words):
                if (await ask(world.api.member, route, path, body)).is_success:
                    changed.add((route.method, route.path, route.action))
    assert len(changed) > 50, sorted(changed)
