"""Requests of every bad kind get the service's own fault; links, versions and paging are what was asked for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Meta, UnsetType

from moln.kernel import errors
from moln.kernel.cloud import Cloud
from moln.kernel.context import Identity, RequestContext
from moln.kernel.errors import Failure, OverQuota, TooManyRequests, Unauthorized, Unavailable
from moln.kernel.http import Body, Paging, Params, QueryParams, Reply, Routes, Service, View, build_app, next_link, since, until

POSTGRESQL = ""  # nothing here asks a database


def fault(failure: Failure, status: int, ctx: RequestContext | None) -> tuple[bytes, str]:
    return msgspec.json.encode({"potFault": {"code": status, "message": failure.message, "field": failure.field}}), "application/json"


POTS = Service(
    "pot", "/pot", fault, header="pot", legacy_header="X-Pot-Version", min_version=(2, 1), max_version=(2, 30), project_in_path=True,
    root="/v2", statuses={OverQuota: 413},
)  # fmt: skip
routes = Routes(POTS)
EARTH = Service("earth", "/earth", fault, header="earth", min_version=(1, 0), max_version=(1, 9))
earths = Routes(EARTH)


class PotCreate(Body, root="pot"):
    name: Annotated[str, Meta(min_length=1, max_length=20)]
    size: Annotated[int, Meta(ge=1)] = 1
    labels: dict[str, str] = {}
    glaze: Annotated[str | UnsetType, since("2.10")] = UNSET


class PotView(View):
    name: str
    version: str
    glaze: Annotated[str | UnsetType, since("2.10")] = UNSET
    crack: Annotated[str | UnsetType, until("2.5")] = UNSET


class PotQuery(QueryParams):
    limit: int | UnsetType = UNSET
    tags: list[str] = []


@routes.get("/v2/pots")
async def list_pots(ctx: RequestContext, query: PotQuery) -> dict[str, Any]:
    return {"pots": [], "limit": None if query.limit is UNSET else query.limit, "tags": query.tags}


@routes.post("/v2/pots", status=202)
async def create_pot(ctx: RequestContext, body: PotCreate) -> PotView:
    return PotView(name=body.name, version=f"{ctx.version[0]}.{ctx.version[1]}", glaze="blue", crack="no")


@routes.get("/v2/pots/{pot_id}")
async def show_pot(ctx: RequestContext, pot_id: str) -> dict[str, Any]:
    return {"id": pot_id, "link": f"{ctx.settings.public_url}/pot/v2/pots/{pot_id}", "project": ctx.project_id}


@routes.get("/v2/pots/{pot_id}/lid", since="2.20")
async def show_lid(ctx: RequestContext, pot_id: str) -> dict[str, Any]:
    return {}


@routes.put("/v2/pots/{pot_id}/lid", status=201)
async def put_lid(ctx: RequestContext, pot_id: str) -> Reply:
    return Reply(headers={"Location": f"{ctx.settings.public_url}/pot/v2/pots/{pot_id}"})


@routes.delete("/v2/pots/{pot_id}")
async def delete_pot(ctx: RequestContext, pot_id: str) -> None:
    return None


class Boil(Body, root="boil"):
    minutes: int


@routes.post("/v2/pots/{pot_id}/action", action="boil")
async def boil(ctx: RequestContext, pot_id: str, body: Boil) -> dict[str, Any]:
    return {"minutes": body.minutes}


@routes.post("/v2/pots/{pot_id}/action", action="break", since="2.7", status=202)
async def shatter(ctx: RequestContext, pot_id: str, body: dict) -> None:  # type: ignore[type-arg]
    return None


FAILURES: dict[str, Failure] = {
    "quota": OverQuota("No."), "wait": TooManyRequests("Later.", retry_after_s=7), "gone": errors.Gone("It was."),
    "down": Unavailable("The kiln is cold."), "not": errors.NotSupported("Never."), "refused": errors.BackendRefused("The kiln says no."),
}  # fmt: skip


@routes.get("/v2/failures/{name}")
async def failing(ctx: RequestContext, name: str) -> None:
    if name == "crash":
        raise ValueError("secret words")
    raise FAILURES[name]


@routes.get("/v2/raw", public=True)
async def raw(ctx: RequestContext, query: Params) -> Reply:
    return Reply(body=query, headers={"X-Pot": "1"}, status=203)


@routes.get("/", public=True)
async def root(ctx: RequestContext) -> dict[str, Any]:
    return {"who": ctx.user_id}


@earths.get("/v1/things/{thing}")
async def thing(ctx: RequestContext, thing: str) -> dict[str, Any]:
    return {}


@pytest.fixture
async def client(cloud: Cloud) -> AsyncIterator[httpx.AsyncClient]:
    async def authenticate(cloud: Cloud, token: str) -> Identity:
        if token != "good":
            raise Unauthorized("The token is not valid.")
        return Identity("u1", project_id="p1", roles=frozenset({"member"}))

    cloud.authenticate = authenticate
    transport = httpx.ASGITransport(build_app(cloud, [*routes.all, *earths.all]))
    async with httpx.AsyncClient(transport=transport, base_url="http://evil.example", headers={"X-Auth-Token": "good"}) as client:
        yield client


async def test_a_view_has_the_fields_of_the_version_asked_for(client: httpx.AsyncClient) -> None:
    async def fields(**headers: str) -> set[str]:
        asked = {k.replace("_", "-"): v for k, v in headers.items()}
        answer = await client.post("/pot/v2/pots", json={"pot": {"name": "a"}}, headers=asked)
        assert answer.status_code == 202
        return set(answer.json())

    assert await fields() == {"name", "version", "crack"}
    assert await fields(X_Pot_Version="2.6") == {"name", "version"}
    assert await fields(OpenStack_API_Version="compute 2.1, pot 2.10") == {"name", "version", "glaze"}
    assert await fields(OpenStack_API_Version="pot latest", X_Pot_Version="2.1") == {"name", "version", "glaze"}


async def test_the_answer_says_its_version_and_what_varies(client: httpx.AsyncClient) -> None:
    answer = await client.get("/pot/v2/pots", headers={"OpenStack-API-Version": "pot 2.5"})
    assert answer.headers["OpenStack-API-Version"] == "pot 2.5"
    assert answer.headers["X-Pot-Version"] == "2.5"
    assert answer.headers["Vary"] == "OpenStack-API-Version, X-Pot-Version"
    assert answer.headers["X-OpenStack-Request-Id"].startswith("req-")


@pytest.mark.parametrize("asked", ["2.31", "1.0", "9.9", "2.0"])
async def test_an_unknown_version_is_406(client: httpx.AsyncClient, asked: str) -> None:
    answer = await client.get("/pot/v2/pots", headers={"OpenStack-API-Version": f"pot {asked}"})
    assert (answer.status_code, answer.json()["potFault"]["code"]) == (406, 406)


@pytest.mark.parametrize("asked", ["2", "2.", ".1", "a.b", "2.1.1", "2.1 x", "-2.1", "2.٣", "99999999999999999999.1", "LATEST"])
async def test_a_malformed_version_is_400(client: httpx.AsyncClient, asked: str) -> None:
    answer = await client.get("/pot/v2/pots", headers=[(b"X-Pot-Version", asked.encode())])
    assert answer.status_code == 400, answer.text


async def test_many_versions_asked_for_leave_bounded_memory(client: httpx.AsyncClient, cloud: Cloud) -> None:
    for i in range(700):
        assert (await client.get("/pot/v2/pots", headers={"OpenStack-API-Version": f"x{i} 1.1"})).status_code == 200
    assert (await client.get("/pot/v2/pots", headers={"OpenStack-API-Version": "pot 2.30"})).headers["X-Pot-Version"] == "2.30"


async def test_an_operation_outside_its_versions_is_not_there(client: httpx.AsyncClient) -> None:
    assert (await client.get("/pot/v2/pots/1/lid")).status_code == 404
    assert (await client.get("/pot/v2/pots/1/lid", headers={"X-Pot-Version": "2.20"})).status_code == 200


@pytest.mark.parametrize(("body", "status", "field"), [
    ({"pot": {"name": "a", "colour": "red"}}, 400, "colour"),
    ({"pot": {"name": "a", "glaze": "red"}}, 400, "glaze"),
    ({"pot": {"size": 1}}, 400, "name"),
    ({"pot": {"name": ""}}, 400, "name"),
    ({"pot": {"name": "a" * 21}}, 400, "name"),
    ({"pot": {"name": 7}}, 400, "name"),
    ({"pot": {"name": "a", "size": 0}}, 400, "size"),
    ({"pot": {"name": "a", "size": True}}, 400, "size"),
    ({"pot": {"name": "a", "size": 2**63}}, 400, None),
    ({"pot": {"name": "a", "size": 10**400}}, 400, None),
    ({"pot": {"name": "a\0"}}, 400, None),
    ({"pot": {"name": "a", "labels": {"a\0": "b"}}}, 400, None),
    ({"pot": {"name": "\ud800"}}, 400, None),
    ({"pot": None}, 400, "pot"), ({"pot": []}, 400, "pot"), ({}, 400, "pot"), ([], 400, None), (None, 400, None), ("x", 400, None),
    ({"pot": {"name": "a"}, "jar": {}}, 400, "jar"),
])  # fmt: skip
async def test_a_bad_body_is_refused_and_the_field_named(client: httpx.AsyncClient, body: Any, status: int, field: str | None) -> None:
    answer = await client.post("/pot/v2/pots", content=json.dumps(body))
    assert answer.status_code == status, answer.text
    assert answer.json()["potFault"]["field"] == field


@pytest.mark.parametrize("content", [
    b"", b"{", b"\xff\xfe", b'{"pot": {"name": "\xed\xa0\x80"}}', b'{"pot": ' * 5000, b"[" * 100_000, b'{"a":' * 900 + b"1" + b"}" * 900,
    b'{"pot": {"name": "a", "size": 1e999}}', b'{"pot": {"name": "a", "size": NaN}}', b'{"pot": {"name": "a\x00"}}',
    b'{"pot": {"name": "a", "labels": ' + b'{"a":' * 70 + b'"1"' + b"}" * 72,
])  # fmt: skip
async def test_what_is_no_proper_json_is_400(client: httpx.AsyncClient, content: bytes) -> None:
    for path in ("/pot/v2/pots", "/pot/v2/pots/1/action"):
        answer = await client.post(path, content=content, headers={"X-Pot-Version": "2.30"})
        assert answer.status_code == 400, answer.text
        assert answer.json()["potFault"]["code"] == 400


async def test_a_fault_quotes_little_of_what_was_sent_and_is_made_in_no_time(client: httpx.AsyncClient) -> None:
    name = " - at `$" * 100_000
    answer = await client.post("/pot/v2/pots", content=json.dumps({"pot": {name: 1}}), timeout=5)
    assert answer.status_code == 400
    assert len(answer.content) < 1000


async def test_a_body_beyond_the_bound_is_413(client: httpx.AsyncClient) -> None:
    answer = await client.post("/pot/v2/pots", content=b" " * ((1 << 20) + 1))
    assert (answer.status_code, answer.json()["potFault"]["code"]) == (413, 413)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(300):
            yield b" " * 4096

    assert (await client.post("/pot/v2/pots", content=chunks())).status_code == 413


@pytest.mark.parametrize("length", ["-1", "x", "1e3", ""])
async def test_a_malformed_content_length_is_400_in_the_services_shape(client: httpx.AsyncClient, length: str) -> None:
    answer = await client.post("/pot/v2/pots", content=b"{}", headers={"Content-Length": length})
    assert answer.status_code == 400
    assert answer.json()["potFault"]


@pytest.mark.parametrize(
    "query", ["a=%00", "limit=%ff", "limit=x", "limit=" + "9" * 5000, "&".join(f"a{i}=1" for i in range(300)), "a=" + "x" * 20_000]
)
async def test_a_bad_query_is_400(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"/pot/v2/pots?{query}")
    assert answer.status_code == 400, answer.text
    assert answer.json()["potFault"]


async def test_a_query_is_read_by_its_types(client: httpx.AsyncClient) -> None:
    answer = await client.get("/pot/v2/pots?limit=3&limit=5&tags=a&tags=b&other=1")
    assert answer.json() == {"pots": [], "limit": 5, "tags": ["a", "b"]}
    assert (await client.get("/pot/v2/raw?b=%20+&a=1&a=2&e=")).json() == {"b": ["  "], "a": ["1", "2"], "e": [""]}


async def test_paths_that_are_nothing_are_404_in_the_services_shape(client: httpx.AsyncClient) -> None:
    for path in ("/pot/v2/nothing", "/pot/v2/pots//lid", "/pot/v2//pots", "/pot//v2/pots", "/pot/v2/pots/a%00", "/pot/v2/pots/1/2/3/4"):
        answer = await client.get(path, headers={"X-Pot-Version": "2.30"})
        assert (answer.status_code, answer.json()["potFault"]["code"]) == (404, 404), path
    assert (await client.get("/pot/v2/pots/")).status_code == 200  # a slash at the end is forgiven
    assert (await client.get("/nowhere")).status_code == 404
    assert "potFault" in (await client.get("/earth/v1/none")).json()


async def test_a_method_that_is_not_there_is_405_with_those_that_are(client: httpx.AsyncClient) -> None:
    answer = await client.put("/pot/v2/pots/1")
    assert (answer.status_code, answer.json()["potFault"]["code"]) == (405, 405)
    assert {"GET", "HEAD", "DELETE"} <= set(answer.headers["Allow"].split(", "))


async def test_head_is_get_without_the_body(client: httpx.AsyncClient) -> None:
    get, head = await client.get("/pot/v2/pots/1"), await client.head("/pot/v2/pots/1")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == get.headers["Content-Length"]


async def test_nothing_is_said_without_a_good_token(client: httpx.AsyncClient) -> None:
    for token in ("", "bad", "gAAAAA\xff"):
        answer = await client.get("/pot/v2/pots", headers=[(b"X-Auth-Token", token.encode("latin-1"))])
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Keystone uri=")
        assert answer.json()["error"]["code"] == 401
    assert (await client.get("/pot/", headers={"X-Auth-Token": ""})).json() == {"who": None}
    assert (await client.get("/pot", headers={"X-Auth-Token": "bad"})).json() == {"who": None}
    assert (await client.get("/pot/")).json() == {"who": "u1"}


@pytest.mark.parametrize(("name", "status"), [("quota", 413), ("wait", 429), ("gone", 410), ("down", 503), ("not", 501), ("refused", 409)])
async def test_each_kind_of_failure_has_its_status(client: httpx.AsyncClient, name: str, status: int) -> None:
    answer = await client.get(f"/pot/v2/failures/{name}")
    assert answer.status_code == status
    assert answer.json()["potFault"] == {"code": status, "message": FAILURES[name].message, "field": None}
    assert answer.headers.get("Retry-After") == {429: "7", 503: "5"}.get(status)


async def test_who_would_wait_long_for_a_write_is_sent_away_at_once(client: httpx.AsyncClient, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud.db, "wait_s", lambda: 11.5)
    answer = await client.delete("/pot/v2/pots/a")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "12")
    assert (await client.get("/pot/v2/failures/gone")).status_code == 410  # reads do not wait for that


async def test_what_is_unforeseen_is_500_in_the_services_shape_and_tells_nothing(client: httpx.AsyncClient) -> None:
    answer = await client.get("/pot/v2/failures/crash")
    assert answer.status_code == 500
    assert answer.json()["potFault"]["code"] == 500
    assert "secret" not in answer.text
    assert answer.headers["X-OpenStack-Request-Id"]


async def test_an_action_is_chosen_by_the_only_key_of_the_body(client: httpx.AsyncClient) -> None:
    async def act(body: Any, version: str = "2.30") -> int:
        return (await client.post("/pot/v2/pots/1/action", json=body, headers={"X-Pot-Version": version})).status_code

    assert await act({"boil": {"minutes": 3}}) == 200
    assert await act({"break": None}) == 202
    assert await act({"break": None}, "2.6") in (400, 404)
    assert await act({"boil": {"minutes": "x"}}) == 400
    assert await act({"boil": {"minutes": 3}, "break": None}) == 400
    assert await act({"fly": None}) in (400, 404)
    assert await act({}) == 400
    assert await act(["boil"]) == 400


async def test_a_project_in_the_path_must_be_the_tokens_own(client: httpx.AsyncClient) -> None:
    assert (await client.get("/pot/v2/p1/pots")).status_code == 200
    assert (await client.get("/pot/v2/p1/pots/1")).json()["project"] == "p1"
    assert (await client.get("/pot/v2/p2/pots")).status_code == 400


async def test_links_never_come_from_the_host_header(client: httpx.AsyncClient) -> None:
    for headers in ({}, {"X-Forwarded-Host": "evil.example"}, {"Forwarded": "host=evil.example"}):
        answer = await client.get("/pot/v2/pots/1", headers=headers)
        assert answer.json()["link"] == "http://127.0.0.1:5000/pot/v2/pots/1"
        assert "evil" not in answer.text


@pytest.mark.parametrize("name", ["naïve 壺", "a\r\nSet-Cookie: b=c", "50%", "a\x7fb"])
async def test_a_location_is_an_address_whatever_is_in_the_path(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.put(f"/pot/v2/pots/{quote(name, safe='')}/lid")
    assert answer.status_code == 201
    assert answer.headers["Location"].isascii() and "Set-Cookie" not in answer.headers
    assert answer.headers["Location"].endswith("/pots/" + quote(name, safe=":="))


def test_a_page_is_bounded_whatever_is_asked() -> None:
    keys = {"name", "size"}
    assert Paging.of({}, keys=keys).limit == 1000
    assert Paging.of({"limit": ["0"]}, keys=keys).limit == 1000
    assert Paging.of({"limit": ["9" * 10_000]}, keys=keys).limit == 1000
    assert Paging.of({"sort_key": ["name", "size", "name"] * 50, "sort_dir": ["asc"]}, keys=keys).sort == (("name", "asc"), ("size", "asc"))
    bad_limits = [{"limit": [text]} for text in ("-1", "1.5", "٣", "x")]
    for bad in (*bad_limits, {"sort_key": ["colour"]}, {"sort": ["name:up"]}, {"sort_key": [""]}):
        with pytest.raises(errors.Invalid):
            Paging.of(bad, keys=keys)


def test_the_next_link_keeps_the_query_and_replaces_the_marker() -> None:
    link = next_link("http://x/pots", {"limit": ["2"], "marker": ["a"], "name": ["b c", "d"]}, "m&1")
    assert link == "http://x/pots?name=b+c&name=d&limit=2&marker=m%261"


keys = st.sampled_from(["pot", "name", "size", "labels", "boil"]) | st.text()
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=json_values, path=st.text(st.characters(exclude_categories=("Cs",)), max_size=12), query=st.text(max_size=20))
async def test_nothing_that_is_sent_is_500(client: httpx.AsyncClient, body: Any, path: str, query: str) -> None:
    content = json.dumps(body)
    params = {"limit": query.encode("utf-8", "replace").decode()}
    for method, url in (("POST", "/pot/v2/pots"), ("POST", "/pot/v2/pots/1/action"), ("GET", "/pot/v2/" + quote(path, safe=""))):
        answer = await client.request(method, url, content=content, params=params)
        assert answer.status_code < 500, answer.text
