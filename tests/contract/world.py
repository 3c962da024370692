"""One of everything in a cloud, and where its ids may stand in requests, so that not all of them end in 404."""

from __future__ import annotations

import random
import re
import time
from typing import Any

from tests.contract.cloud import SimulatedCloud

LATEST = {"OpenStack-API-Version": "compute latest, volume latest, placement latest"}
PATIENCE_S = 60  # for a server to be made


class Client:
    """Requests of one user. Raises AssertionError, when `make` is refused."""

    def __init__(self, cloud: SimulatedCloud, token: str):
        self.cloud, self.token = cloud, token
        self.made: list[tuple[str, str, Any]] = []  # method, path and body of what was taken
        self.headers = {"X-Auth-Token": token, **LATEST}

    def get(self, path: str) -> Any:
        answer = self.cloud.request("GET", path, headers=self.headers)
        return answer.json() if answer.is_success and "json" in answer.headers.get("Content-Type", "") else None

    def make(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.cloud.request(method, path, json=body, headers=self.headers)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        self.made.append((method, path, body))
        found = answer.json() if answer.content else {}
        return next(iter(found.values())) if isinstance(found, dict) and len(found) == 1 else found


def sign_in(cloud: SimulatedCloud, name: str, password: str, project: str) -> Client:
    who = {"user": {"name": name, "domain": {"id": "default"}, "password": password}}
    scope = {"project": {"name": project, "domain": {"id": "default"}}}
    body = {"auth": {"identity": {"methods": ["password"], "password": who}, "scope": scope}}
    answer = cloud.request("POST", "/identity/v3/auth/tokens", json=body)
    assert answer.status_code == 201, answer.text
    return Client(cloud, answer.headers["X-Subject-Token"])


class World:
    """admin: the administrator. member: who owns one of most things."""

    def __init__(self, cloud: SimulatedCloud):
        self.cloud = cloud
        self.admin = sign_in(cloud, "admin", cloud.admin_password, "admin")
        self.own = self._own()
        self._identity()
        self.member = sign_in(cloud, "fuzz-user", "a-Secret-1", "fuzz-project")
        self._shared()
        self._networks()
        self._volumes()
        self._servers()

    def _own(self) -> set[str]:
        """What the administrator and the catalogue stand on: nothing may change it, or all else ends in 401."""
        kept = {"default", "admin"}
        for kind in ("users", "projects", "roles", "domains", "services", "endpoints", "regions"):
            kept |= {thing["id"] for thing in self.admin.get(f"/identity/v3/{kind}")[kind]}
        return kept

    def _identity(self) -> None:
        make = self.admin.make
        self.domain = make("POST", "/identity/v3/domains", {"domain": {"name": "fuzz-domain"}})["id"]
        self.project = make("POST", "/identity/v3/projects", {"project": {"name": "fuzz-project"}})["id"]
        spare = make("POST", "/identity/v3/projects", {"project": {"name": "fuzz-spare", "tags": ["fuzz"]}})["id"]
        user = make("POST", "/identity/v3/users", {"user": {"name": "fuzz-user", "password": "a-Secret-1"}})["id"]
        other = make("POST", "/identity/v3/users", {"user": {"name": "fuzz-other", "password": "a-Secret-1"}})["id"]
        group = make("POST", "/identity/v3/groups", {"group": {"name": "fuzz-group"}})["id"]
        make("PUT", f"/identity/v3/groups/{group}/users/{other}")
        role, implied = (make("POST", "/identity/v3/roles", {"role": {"name": name}})["id"] for name in ("fuzz-role", "fuzz-implied"))
        make("PUT", f"/identity/v3/roles/{role}/implies/{implied}")
        for inherited, after in (("", ""), ("OS-INHERIT/", "/inherited_to_projects")):
            for target in (f"projects/{spare}", f"domains/{self.domain}"):
                for actor in (f"users/{other}", f"groups/{group}"):
                    make("PUT", f"/identity/v3/{inherited}{target}/{actor}/roles/{role}{after}")
        make("POST", "/identity/v3/policies", {"policy": {"type": "json", "blob": "{}"}})
        make("POST", "/identity/v3/regions", {"region": {"id": "fuzz"}})
        service = make("POST", "/identity/v3/services", {"service": {"type": "fuzz", "name": "fuzz"}})["id"]
        endpoint = {"interface": "public", "service_id": service, "url": "http://127.0.0.1/fuzz", "region_id": "fuzz"}
        make("POST", "/identity/v3/endpoints", {"endpoint": endpoint})
        [member] = self.admin.get("/identity/v3/roles?name=member")["roles"]
        make("PUT", f"/identity/v3/projects/{self.project}/users/{user}/roles/{member['id']}")
        self.own |= {user, self.project}
        credential = {"type": "cert", "blob": "{}", "user_id": other, "project_id": self.project}
        make("POST", "/identity/v3/credentials", {"credential": credential})

    def _shared(self) -> None:
        make = self.admin.make
        image = {"name": "fuzz-image", "disk_format": "raw", "container_format": "bare", "visibility": "public", "tags": ["fuzz"]}
        self.image = self.admin.make("POST", "/image/v2/images", image)["id"]
        shared = make("POST", "/image/v2/images", {"name": "fuzz-shared", "visibility": "shared"})["id"]
        make("POST", f"/image/v2/images/{shared}/members", {"member": self.project})
        headers = {**self.admin.headers, "Content-Type": "application/octet-stream"}
        sent = self.cloud.request("PUT", f"/image/v2/images/{self.image}/file", content=b"\0" * 4096, headers=headers)
        assert sent.status_code == 204, sent.text
        self.flavor = make("POST", "/compute/v2.1/flavors", {"flavor": {"name": "fuzz-flavor", "vcpus": 1, "ram": 128, "disk": 1}})["id"]
        make("POST", f"/compute/v2.1/flavors/{self.flavor}/os-extra_specs", {"extra_specs": {"fuzz": "1"}})
        make("POST", "/compute/v2.1/os-aggregates", {"aggregate": {"name": "fuzz-aggregate"}})
        make("POST", "/volume/v3/types", {"volume_type": {"name": "fuzz-type", "extra_specs": {"fuzz": "1"}}})
        make("POST", "/volume/v3/qos-specs", {"qos_specs": {"name": "fuzz-qos", "fuzz": "1"}})
        self.group_type = make("POST", "/volume/v3/group_types", {"group_type": {"name": "fuzz-groups", "group_specs": {"fuzz": "1"}}})["id"]
        provider = make("POST", "/placement/resource_providers", {"name": "fuzz-provider"})["uuid"]
        inventory = {"resource_provider_generation": 0, "inventories": {"VCPU": {"total": 8}}}
        make("PUT", f"/placement/resource_providers/{provider}/inventories", inventory)
        outer = {"name": "fuzz-outer", "router:external": True}
        self.outer = make("POST", "/network/v2.0/networks", {"network": outer})["id"]
        subnet = {"network_id": self.outer, "ip_version": 4, "cidr": "203.0.113.0/24"}
        make("POST", "/network/v2.0/subnets", {"subnet": subnet})

    def _networks(self) -> None:
        def make(collection: str, single: str, **body: Any) -> str:
            made: str = self.member.make("POST", f"/network/v2.0/{collection}", {single: body})["id"]
            if collection in TAGGED:
                self.member.make("PUT", f"/network/v2.0/{collection}/{made}/tags", {"tags": ["fuzz"]})
            return made

        self.network = make("networks", "network", name="fuzz-net")
        subnet = make("subnets", "subnet", network_id=self.network, ip_version=4, cidr="10.9.0.0/24")
        router = make("routers", "router", name="fuzz-router", external_gateway_info={"network_id": self.outer})
        self.member.make("PUT", f"/network/v2.0/routers/{router}/add_router_interface", {"subnet_id": subnet})
        ports = [make("ports", "port", network_id=self.network, name=f"fuzz-port-{n}") for n in range(3)]
        address = make("floatingips", "floatingip", floating_network_id=self.outer)
        make("floatingips", "floatingip", floating_network_id=self.outer, port_id=ports[0])
        forwarding = {"protocol": "tcp", "external_port": 80, "internal_port": 80, "internal_port_id": ports[1]}
        inner = self.member.get(f"/network/v2.0/ports/{ports[1]}")["port"]["fixed_ips"][0]["ip_address"]
        make(f"floatingips/{address}/port_forwardings", "port_forwarding", internal_ip_address=inner, **forwarding)
        group = make("security-groups", "security_group", name="fuzz-group")
        make("security-group-rules", "security_group_rule", security_group_id=group, direction="ingress")
        make("address-groups", "address_group", name="fuzz-addresses", addresses=["10.0.0.0/8"])
        scope = make("address-scopes", "address_scope", name="fuzz-scope", ip_version=4)
        make("subnetpools", "subnetpool", name="fuzz-pool", prefixes=["10.64.0.0/16"], address_scope_id=scope)
        make("trunks", "trunk", name="fuzz-trunk", port_id=ports[2])
        policy = self.admin.make("POST", "/network/v2.0/qos/policies", {"policy": {"name": "fuzz-policy"}})["id"]
        rule = {"bandwidth_limit_rule": {"max_kbps": 1000}}
        self.admin.make("POST", f"/network/v2.0/qos/policies/{policy}/bandwidth_limit_rules", rule)
        sharing = {"object_type": "network", "object_id": self.network, "action": "access_as_shared", "target_tenant": "fuzz"}
        self.admin.make("POST", "/network/v2.0/rbac-policies", {"rbac_policy": sharing})
        self.admin.make("POST", f"/network/v2.0/qos/policies/{policy}/dscp_marking_rules", {"dscp_marking_rule": {"dscp_mark": 8}})
        self.admin.make("POST", "/network/v2.0/log/logs", {"log": {"name": "fuzz-log", "resource_type": "security_group"}})
        self.admin.make("POST", "/network/v2.0/flavors", {"flavor": {"name": "fuzz-flavor", "service_type": "L3_ROUTER_NAT"}})

    def _volumes(self) -> None:
        make = self.member.make
        volumes = [make("POST", "/volume/v3/volumes", {"volume": {"name": f"fuzz-volume-{n}", "size": 1, "metadata": {"fuzz": "1"}}})["id"] for n in range(3)]
        for volume in volumes:
            self._wait(f"/volume/v3/volumes/{volume}", "volume", "available")
        make("POST", "/volume/v3/snapshots", {"snapshot": {"volume_id": volumes[0], "name": "fuzz-snapshot", "metadata": {"fuzz": "1"}}})
        make("POST", "/volume/v3/volume-transfers", {"transfer": {"volume_id": volumes[1], "name": "fuzz-transfer"}})
        [kind] = [t["id"] for t in self.member.get("/volume/v3/types")["volume_types"] if t["name"] == "fuzz-type"]
        make("POST", "/volume/v3/groups", {"group": {"name": "fuzz-group", "group_type": self.group_type, "volume_types": [kind]}})
        self.volume = volumes[2]

    def _servers(self) -> None:
        make = self.member.make
        for own in (make, self.admin.make):
            own("POST", "/compute/v2.1/os-keypairs", {"keypair": {"name": "fuzz-key", "type": "ssh", "public_key": PUBLIC_KEY}})
        make("POST", "/compute/v2.1/os-server-groups", {"server_group": {"name": "fuzz-group", "policy": "soft-affinity"}})
        for number in range(2):
            server = {"name": f"fuzz-{number}", "imageRef": self.image, "flavorRef": self.flavor, "networks": [{"uuid": self.network}],
                      "metadata": {"fuzz": "1"}, "tags": ["fuzz"]}  # fmt: skip
            made = make("POST", "/compute/v2.1/servers", {"server": server})["id"]
            self._wait(f"/compute/v2.1/servers/{made}", "server", "ACTIVE")
        make("POST", f"/compute/v2.1/servers/{made}/os-volume_attachments", {"volumeAttachment": {"volumeId": self.volume}})

    def _wait(self, path: str, root: str, status: str) -> None:
        until = time.monotonic() + PATIENCE_S
        while (found := self.member.get(path)[root])["status"] != status:
            assert time.monotonic() < until, found
            self.cloud.turn(0.02)  # a client can only ask again


TAGGED = ("networks", "subnets", "ports", "routers", "floatingips", "security-groups", "subnetpools", "trunks")
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl fuzz"

ALIKE = {
    "actor": "users", "target": "projects", "tenant": "projects", "owner": "projects", "image_ref": "images", "flavor_ref": "flavors",
    "prior_role": "roles", "implied_role": "roles", "floating_network": "networks", "source_vol": "volumes", "internal_port": "ports",
    "remote_group": "security-groups", "security_group": "security-groups", "policy": "policies", "qos_policy": "policies",
    "address_group": "address-groups", "remote_address_group": "address-groups", "os-quota-sets": "projects", "quotas": "projects",
    "default_project": "projects", "parent": "projects", "volume_type": "types", "type": "types", "hypervisor": "os-hypervisors",
    "aggregate": "os-aggregates", "consumer": "servers", "address_scope": "address-scopes", "new": "types",
}  # fmt: skip
"""A variable's or a property's name without its `_id`, and the collection whose ids may stand there."""


FIXED = {
    "host_name": ["sim-1"], "host": ["sim-1"], "class_name": ["default"], "key": ["fuzz"], "tag": ["fuzz"], "pattern": ["sim"],
    "rule_type": ["bandwidth_limit", "dscp_marking"], "before": ["2026-01-01 00:00:00"],
}  # fmt: skip
"""What else variables may be."""


def _word(name: str) -> str:
    """`imageRef`, `image_id`, `volumeId` → image_ref, image, volume."""
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return re.sub(r"_(id|uuid)s?$", "", plain)


Values = dict[str, str]  # of a path's variables


class Ids:
    """What there is: ids by collection, and for each path values of its variables that belong together."""

    MOST = 12  # of each list
    PARENTS = 2  # whose children are looked for

    def __init__(self, world: World, document: dict[str, Any], chance: random.Random):
        self.own, self._ask, self._chance = world.own, world.admin.get, chance
        self._lists = {path for path, item in document["paths"].items() if "get" in item}
        self._found: dict[str, list[Values]] = {}
        self.by_list: dict[str, list[str]] = {}
        for path in sorted(self._lists):
            if "{" not in path and path.count("/") > 1:
                self.by_list[path] = self._listed(path)

    def _listed(self, path: str) -> list[str]:
        everybody = path.startswith("/volume/") or path.startswith("/compute/v2.1/servers")
        answer = self._ask(path + ("?all_tenants=1" if everybody and "{" not in path and path.count("/") < 5 else ""))
        things: Any = next((v for v in answer.values() if isinstance(v, (list, dict))), []) if isinstance(answer, dict) else []
        return sorted({name for thing in things if (name := _name(thing))})

    def values(self, path: str, *, safe: bool) -> Values:
        """Of a path's variables. safe: nothing that others stand on."""
        known = self._known(path)
        if safe:
            known = [values for values in known if not self.own & set(values.values())]
        return self._chance.choice(known) if known else {}

    def _known(self, path: str) -> list[Values]:
        """path: its last variable is the last that counts."""
        path = path[: path.rindex("}") + 1]
        if path not in self._found:
            before, _, last = path.rpartition("{")
            before, last = before.rstrip("/"), last.rstrip("}")
            outer = self._known(before) if "}" in before else [{}]
            found: list[Values] = []
            if before in self._lists:
                for values in outer[: self.PARENTS]:
                    found += [values | {last: id} for id in self._listed(before.format(**values))]
            if not found:
                alike = FIXED.get(last) or self.of(last, before)
                ids = self._chance.sample(alike, min(self.MOST, len(alike)))
                found = [values | {last: id} for values in outer[: self.MOST] for id in ids]
            self._found[path] = found
        return self._found[path]

    def of(self, name: str, path: str = "") -> list[str]:
        """Ids for a variable or property. path: up to the variable."""
        if self.by_list.get(path):
            return self.by_list[path]
        service, last = "/" + path.strip("/").partition("/")[0], path.rstrip("/").rpartition("/")[2]
        for word in (_word(last), _word(name)):
            endings = {ALIKE.get(word, word), word + "s"}
            fitting = sorted((p for p in self.by_list if p.rpartition("/")[2] in endings), key=lambda p: (not p.startswith(service), p))
            if found := next((self.by_list[p] for p in fitting if self.by_list[p]), []):
                return found
        return []

    def some(self, name: str, *, safe: bool) -> list[str]:
        """Ids for a property of a body, or a parameter of a query."""
        return [found for found in self.of(name) if not (safe and found in self.own)]


def _name(thing: Any) -> str:
    """What a thing is called in a path."""
    if isinstance(thing, dict) and len(thing) == 1 and isinstance(next(iter(thing.values())), dict):
        thing = next(iter(thing.values()))  # {"keypair": {…}}
    for key in ("id", "uuid", "request_id", "access", "member_id", "volumeId", "port_id", "name") if isinstance(thing, dict) else ():
        if key in thing:
            return str(thing[key])
    return str(thing) if isinstance(thing, (str, int)) else ""
