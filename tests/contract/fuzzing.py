"""Requests that a description allows and some that it does not, sent for a time, and what the answers have that it does not say."""

from __future__ import annotations

import contextlib
import copy
import random
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import hypothesis
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import Failure, FailureGroup
from tests.contract.cloud import URL
from tests.contract.world import Client, Ids, World

load_all_checks()
CHECKED = CHECKS.get_by_names(["status_code_conformance", "content_type_conformance", "response_schema_conformance"])
schemathesis.serializer.alias([f"application/openstack-images-v2.{n}-json-patch" for n in (0, 1)], "application/json")
VARIANTS = 3  # of each generated request, with other ids, microversions and callers: sending costs less than generating
NEAR = 3  # changes of each body that was once taken
JSON = "application/json"
ODD = (
    None, "", "a", " ", "é😀", "x" * 300, "0", "-1", "1e400", 0, -1, 1.5, 1 << 31, 1 << 62, True, False, [], {}, [None], [[]], {"a": None}, [{}], "::1",
    "10.0.0.1", "default", "00000000-0000-0000-0000-000000000000",
)  # fmt: skip
METHODS = ("get", "put", "post", "patch", "delete", "head")


def without_security(document: dict[str, Any]) -> dict[str, Any]:
    """The same description; the token is ours to send."""
    found = copy.deepcopy(document)
    found.pop("security", None)
    found["components"].pop("securitySchemes", None)
    for item in found["paths"].values():
        for method in METHODS:
            item.get(method, {}).pop("security", None)
    return found


PLAUSIBLE = {
    "cidr": ["10.9.1.0/24", "2001:db8::/64"], "destination": ["10.0.0.0/8"], "nexthop": ["10.9.0.5"], "addresses": ["192.0.2.0/24"],
    "prefixes": ["10.65.0.0/16"], "ip_address": ["10.9.0.77", "203.0.113.9"], "start": ["10.9.0.20"], "end": ["10.9.0.30"],
    "fixed_ip_address": ["10.9.0.77"], "floating_ip_address": ["203.0.113.9"], "gateway_ip": ["10.9.0.1"], "internal_ip_address": ["10.9.0.2"],
    "mac_address": ["fa:16:3e:00:00:01"], "remote_ip_prefix": ["10.0.0.0/8", "::/0"], "protocol": ["tcp", "udp", "icmp", "vnc"],
    "object_type": ["network", "security_group", "qos_policy"], "action": ["access_as_shared", "access_as_external"], "target_tenant": ["*"],
    "dns_domain": ["example.org."], "external_port_range": ["1000:1010"], "internal_port_range": ["1000:1010"], "host": ["sim-1"],
    "binary": ["nova-compute", "cinder-volume"], "availability_zone": ["nova"], "disk_format": ["raw"], "container_format": ["bare"],
    "status": ["available", "error"], "interface": ["public"], "url": ["http://example.org/"], "resource_class": ["VCPU", "CUSTOM_FUZZ"],
    "traits": ["HW_CPU_X86_AVX"], "expires_at": ["2030-01-01T00:00:00"],
    **dict.fromkeys(("metadata", "extra_specs", "group_specs"), [{"fuzz": "2"}, {}]), "size": [1, 2], "new_size": [2], "networks": ["auto", "none"],
    **dict.fromkeys(("is_public", "multiattach", "force", "protected", "no_snapshots", "bootable", "readonly"), [True, False, "true"]),
    "os-volume-type-access:is_public": [True, False], "delete-volumes": [True, False],
}  # fmt: skip
"""Values that mean something, for properties where any other text is refused at once."""


def changed(body: Any, chance: random.Random) -> Any:
    """The same with one thing in it odd, absent, twice, or nothing at all changed."""
    found = copy.deepcopy(body)
    places = list(_places(found))
    if not places or chance.random() < 0.15:
        return found
    inside, key = chance.choice(places)
    match chance.randrange(5):
        case 0 if isinstance(inside, dict):
            del inside[key]
        case 1:
            inside[key] = [inside[key], inside[key]]
        case _:
            inside[key] = copy.deepcopy(chance.choice(ODD))
    return found


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a value inside another."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


class Filling:
    """Puts ids of things that there are where a generated request has any text, mostly."""

    LIKELY = 0.85
    DROPPED = (0.0, 0.0, 0.5, 0.8)  # of the properties of a body: with all that may be given at once, hardly any is taken

    def __init__(self, ids: Ids, chance: random.Random):
        self._ids, self._chance = ids, chance

    def case(self, case: Any, *, body: bool) -> None:
        safe = case.method != "GET"
        if case.path_parameters and self._likely():
            case.path_parameters.update(self._ids.values(case.operation.path, safe=safe))
        for name in case.query or {}:
            if (known := self._query(name, case.operation.path)) and self._likely():
                case.query[name] = self._chance.choice(known)
        if body and isinstance(case.body, (dict, list)):
            self._dropped = self._chance.choice(self.DROPPED)
            case.body = self._body(case.body)

    def _likely(self) -> bool:
        return self._chance.random() < self.LIKELY

    def _query(self, name: str, path: str) -> list[str]:
        known = {"limit": ["1", "2"], "sort_dir": ["asc", "desc"], "sort_key": ["id", "name", "created_at"], "all_tenants": ["1"]}
        if name in ("marker", "id", "uuid"):
            return self._ids.of("", path)
        return known.get(name, self._ids.some(name, safe=False) if name.endswith("_id") else [])

    def _body(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._body(inner) for inner in value]
        if not isinstance(value, dict):
            return value
        kept = [key for key in value if len(value) == 1 or self._chance.random() >= self._dropped]
        return {key: self._property(key, value[key]) for key in kept}

    def _property(self, key: str, value: Any) -> Any:
        if key in PLAUSIBLE and self._likely() and not isinstance(value, list):
            return copy.deepcopy(self._chance.choice(PLAUSIBLE[key]))
        if isinstance(value, (dict, list)):
            return [self._property(key, inner) for inner in value] if isinstance(value, list) else self._body(value)
        if isinstance(value, str) and key.endswith(("_id", "Ref", "Id", "uuid")) and (real := self._ids.some(key, safe=True)) and self._likely():
            return self._chance.choice(real)
        return value


def _alternatives(operation: Any) -> int:
    """How many kinds of bodies an operation takes, more or less: a server has dozens of actions."""
    content = operation.definition.raw.get("requestBody", {}).get("content", {})
    return max((1 + len(kind["schema"].get("anyOf", ())) // 4 for kind in content.values()), default=1)


class Finding:
    """Something that an answer has and the description has not. times: how often."""

    def __init__(self, label: str, what: str, example: str):
        self.label, self.what, self.example, self.times = label, what, example, 1

    def __str__(self) -> str:
        return f"{self.label}: {self.what} ({self.times} times)\n    {self.example}"


class Fuzzer:
    """Sends requests to a cloud. findings: by operation and kind. counts: answers by status."""

    def __init__(self, document: dict[str, Any], seed: int):
        self.document, self.seed = document, seed
        self.findings: dict[tuple[str, str], Finding] = {}
        self.counts: dict[int, int] = {}
        self.seen: dict[str, set[int]] = {}
        schema = schemathesis.openapi.from_dict(without_security(document))
        schema.config.update(base_url=URL)
        self._operations = [found.ok() for found in schema.get_all_operations()]

    def round(self, world: World, number: int, until: float, examples: int) -> Iterator[str]:
        """Every operation once more, in a random order, deletions last. until: in time.monotonic(). Yields each one's name."""
        self._world = world
        chance = random.Random(self.seed + number)
        self._filling = Filling(Ids(world, self.document, chance), chance)
        operations = list(self._operations)
        chance.shuffle(operations)
        operations.sort(key=lambda operation: operation.method == "delete")  # things last until the others have had them
        for operation in operations:
            if time.monotonic() > until:
                return
            self._operation(operation, schemathesis.GenerationMode.POSITIVE, examples, chance)
            if operation.body:  # of text alone nothing is wrong
                self._operation(operation, schemathesis.GenerationMode.NEGATIVE, examples, chance)
            self._near_misses(operation, chance)
            yield operation.label

    def _near_misses(self, operation: Any, chance: random.Random) -> None:
        """Bodies that were taken when the world was made, with one value changed or missing: what a schema alone seldom reaches."""
        path = re.compile(re.sub("{[^}]*}", "[^/]+", operation.path))
        for client in (self._world.admin, self._world.member):
            for body in [body for method, at, body in client.made if method.lower() == operation.method and body and path.fullmatch(at)]:
                for _ in range(NEAR):
                    case = operation.Case(
                        path_parameters=dict.fromkeys(re.findall("{([^}]*)}", operation.path), "x"), body=changed(body, chance), media_type=JSON
                    )
                    self._send(operation, case, chance, refill=False)

    def _operation(self, operation: Any, mode: Any, examples: int, chance: random.Random) -> None:
        @hypothesis.seed(chance.getrandbits(32))
        @hypothesis.settings(
            max_examples=examples * _alternatives(operation), deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def send(case: Any) -> None:
            drawn = copy.deepcopy((case.path_parameters, case.query, case.body))
            for _ in range(VARIANTS):
                case.path_parameters, case.query, case.body = copy.deepcopy(drawn)
                self._send(operation, case, chance)

        with contextlib.suppress(hypothesis.errors.Unsatisfiable):  # nothing breaks a rule of an operation that has none
            send()

    def _send(self, operation: Any, case: Any, chance: random.Random, *, refill: bool = True) -> None:
        """refill: the body too gets ids of what there is, not only the path."""
        who: Client = chance.choice([self._world.admin, self._world.admin, self._world.member])
        self._filling.case(case, body=refill)
        headers = {"X-Auth-Token": who.token}
        if "X-Subject-Token" in (case.headers or {}) and case.method != "DELETE":
            headers["X-Subject-Token"] = self._world.member.token
        area = operation.tags[0] if operation.tags else ""
        if version := chance.choice(["latest", "latest", "", self._some_version(area, chance)]):
            headers["OpenStack-API-Version"] = f"{area} {version}"
        try:
            wish = requests.Request(**case.as_transport_kwargs(base_url=URL, headers=headers)).prepare()
            response = self._world.cloud.request(wish.method, wish.url, content=wish.body, headers=dict(wish.headers))
        except (requests.exceptions.RequestException, httpx.HTTPError, httpx.InvalidURL, UnicodeError):
            return  # no client can send it
        status = response.status_code
        self.counts[status] = self.counts.get(status, 0) + 1
        self.seen.setdefault(operation.label, set()).add(status)
        example = f"{headers.get('OpenStack-API-Version', '')} {case.as_curl_command()[:600]} -> {response.text[:300]!r}"
        if status == 500:
            self._note(operation, "500", example)
            return
        try:
            case.validate_response(response, checks=CHECKED)
        except (Failure, FailureGroup) as failure:
            for one in getattr(failure, "exceptions", [failure]):
                what = f"{status}: {one.title}: {str(one.message).strip()[:300]}"
                self._note(operation, what, example)

    def _some_version(self, area: str, chance: random.Random) -> str:
        said = self.document["components"]["parameters"].get(f"{area}-microversion")
        if said is None:
            return ""
        (major, low), (_, high) = (map(int, said["x-openstack"][end].split(".")) for end in ("min-ver", "max-ver"))
        return f"{major}.{chance.randint(low, high)}"

    def _note(self, operation: Any, what: str, example: str) -> None:
        key = (operation.label, what)
        if key in self.findings:
            self.findings[key].times += 1
        else:
            self.findings[key] = Finding(operation.label, what, example)
