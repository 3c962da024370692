"""`/openapi.json` says what there is: every operation, in a document that OpenAPI 3.1 allows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Annotated, Any

import pytest
from msgspec import UNSET, Struct, UnsetType
from openapi_spec_validator import validate
from tests.conftest import Api

from moln.app import Settings, all_routes, modules, render_description
from moln.kernel.context import RequestContext
from moln.kernel.http import Body, Routes, Service, since
from moln.kernel.http.faults import keystone_body
from moln.kernel.http.openapi import document
from moln.kernel.http.schemas import Described


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(render_description(modules(Settings(simulate=True))))
    return found


def template(path: str) -> str:
    return re.sub("{[^}]*}", "{}", path.rstrip("/") or "/")


def test_every_operation_is_in_it(described):
    there = {(template(path), method) for path, item in described["paths"].items() for method in item if method != "parameters"}
    wanted = {(template(r.service.prefix + r.path), r.method.lower()) for r in all_routes(modules(Settings(simulate=True)))}
    assert there == wanted


def test_every_action_is_in_it(described):
    paths = {template(path): item for path, item in described["paths"].items()}
    for route in all_routes(modules(Settings(simulate=True))):
        if route.action:
            body = paths[template(route.service.prefix + route.path)]["post"]["requestBody"]
            assert f'"action-name": "{route.action}"' in json.dumps(body), route.action


@pytest.mark.slow
def test_it_is_a_valid_description(described):
    validate(described)


async def test_it_is_served_without_a_token_compressed_for_those_who_take_it(api: Api):
    plain = await api.anonymous.get("/openapi.json", headers={"Accept-Encoding": "identity"})
    packed = await api.anonymous.get("/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert plain.status_code == 200 and packed.headers["Content-Encoding"] == "gzip"
    assert plain.json() == packed.json()
    assert plain.json()["servers"] == [{"url": api.cloud.settings.public_url}]


def test_the_command_line_prints_it_without_a_cloud():
    said = subprocess.run([sys.executable, "-c", "from moln.cli import main; main(['routes', '--openapi'])"], capture_output=True, timeout=60)
    assert json.loads(said.stdout)["openapi"] == "3.1.0", said.stderr


class Start(Body, root="start"):
    fast: bool
    later: Annotated[str | UnsetType, since("1.5")] = UNSET


class Shown(Struct):
    name: str


@pytest.fixture
def routes() -> Routes:
    return Routes(Service("thing", "/thing", keystone_body, header="thing", min_version=(1, 0), max_version=(1, 9)))


def test_actions_are_alternatives_of_one_body_with_the_microversions_that_have_them(routes: Routes):
    @routes.post("/things/{thing_id}/action", status=202, action="start", since="1.2")
    async def start(ctx: RequestContext, thing_id: str, body: Start) -> None: ...

    @routes.post("/things/{thing_id}/action", status=202, action="stop", until="1.8")
    async def stop(ctx: RequestContext, thing_id: str) -> None: ...

    made = document(routes.all, {})
    operation = made["paths"]["/thing/things/{thing_id}/action"]["post"]
    one, other = operation["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
    assert one["x-openstack"] == {"min-ver": "1.2", "action-name": "start"} and one["required"] == ["start"]
    assert other["x-openstack"] == {"max-ver": "1.8", "action-name": "stop"} and other["required"] == ["stop"]
    assert "content" not in operation["responses"]["202"]


def test_a_field_tells_the_microversion_that_brought_it(routes: Routes):
    @routes.post("/things")
    async def start(ctx: RequestContext, body: Start) -> Shown: ...  # type: ignore[empty-body]

    made = document(routes.all, {})
    assert made["components"]["schemas"]["Start"]["properties"]["later"] == {"type": "string", "x-openstack": {"min-ver": "1.5"}}
    answer = made["paths"]["/thing/things"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"$ref": "#/components/schemas/Shown"}


def test_what_describes_no_operation_is_refused(routes: Routes):
    with pytest.raises(ValueError, match="GET /nothing"):
        document(routes.all, {"thing": Described(answers={"GET /nothing": None})})
