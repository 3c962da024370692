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
from tests.contract.filling import Filling, changed
from tests.contract.world import Client, Ids, World

load_all_checks()
CHECKED = CHECKS.get_by_names(["status_code_conformance", "content_type_conformance", "response_schema_conformance"])
schemathesis.serializer.alias([f"application/openstack-images-v2.{n}-json-patch" for n in (0, 1)], "application/json")
VARIANTS = 3  # of each generated request, with other ids, microversions and callers: sending costs less than generating
NEAR = 3  # changes of each body that was once taken
JSON = "application/json"
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
