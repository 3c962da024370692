"""SEC-43 (OSSA-2026-006, 2017-003, 2014-023, 2012-004): what tenants write is text wherever a browser sees it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from tests.compute.consoles import pages  # noqa: F401 (a fixture)
from tests.compute.world import World, world  # noqa: F401 (a fixture)
from tests.conftest import Api

STATIC = Path(__file__).parents[2] / "src/moln/console/static"
HOSTILE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\"><svg/onload=alert(1)>", "</title><script>alert(1)</script>", "javascript:alert(1)",
    "{{7*7}}${7*7}<%=7*7%>", "<!--", "]]>", "'-alert(1)-'", "&lt;script&gt;", "\u2028<script>", "<ScRiPt/x>", "<iframe srcdoc='x'>",
]  # fmt: skip
SINKS = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|setTimeout\(\s*[\"'`]|srcdoc|javascript:|\.html\(|DOMParser"
                   r"|createContextualFragment|location\s*=|location\.(href|assign|replace)\s*[=(]|postMessage")  # fmt: skip


class Tags(HTMLParser):
    """Every element of a page, and its attributes."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def check(answer: httpx.Response) -> None:
    """No browser would run anything of it."""
    media = answer.headers.get("content-type", "")
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    scripts = re.search(r"script-src ([^;]*)", policy)
    assert "default-src 'none'" in policy and (scripts is None or scripts[1] == "'self'"), policy
    if media.startswith("text/html"):
        for tag, attributes in Tags(answer.text).found:
            assert tag in {"html", "head", "title", "body", "h1", "br", "meta", "link", "script", "header", "main", "span", "button"}, tag
            assert not [name for name in attributes if name.startswith("on") or name in ("srcdoc", "style")]
            assert tag != "script" or attributes.get("src", "").startswith("files/")
    else:
        assert re.match(r"application/(json|octet-stream|openstack)|text/(plain|css|javascript)", media) or not answer.content, media


async def test_names_come_back_as_json_and_nothing_else(world: World) -> None:  # noqa: F811
    server = await world.boot(metadata={"x": "y"})
    volume = await world.volume()
    for name in (text for text in HOSTILE if text.isprintable()):  # Nova takes no other
        await world.call("PUT", f"/servers/{server['id']}", 200, {"server": {"name": name}})
        await world.call("POST", f"/servers/{server['id']}/metadata", 200, {"metadata": {"x": name}})
        await world.neutron("PUT", f"/networks/{world.network}", {"network": {"name": name}})
        await world.cinder("PUT", f"/volumes/{volume}", {"volume": {"name": name, "description": name}})
        image = await world.api.member.post("/image/v2/images", json={"name": name})
        for path in (f"/compute/v2.1/servers/{server['id']}", f"/network/v2.0/networks/{world.network}", f"/volume/v3/volumes/{volume}",
                     f"/image/v2/images/{image.json()['id']}", "/compute/v2.1/servers/detail"):  # fmt: skip
            answer = await world.api.member.get(path)
            check(answer)
            assert answer.headers["content-type"].startswith("application/json") and any(name in value for value in strings(answer.json())), path


def strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


async def test_faults_quote_what_was_sent_as_text(api: Api) -> None:
    """Glance's are pages."""
    patch = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
    image = (await api.member.post("/image/v2/images", json={"name": "x"})).json()["id"]
    for text in HOSTILE:
        answers = [
            await api.member.patch(f"/image/v2/images/{image}", json=[{"op": "add", "path": text, "value": "x"}], headers=patch),
            await api.member.patch(f"/image/v2/images/{image}", json=[{"op": text, "path": "/name", "value": "x"}], headers=patch),
            await api.member.post("/image/v2/images", json={"name": "x", "disk_format": text}),
            await api.member.post("/image/v2/images", json={"name": "x", text: 1}),
            await api.member.get("/image/v2/images", params={"sort_key": text, "limit": text, "marker": text}),
            await api.member.get("/image/v2/images/" + text.replace("/", "%2f")),
            await api.member.get("/network/v2.0/networks", params={"sort_key": text, "limit": text}),
            await api.member.get("/compute/v2.1/servers", params={"limit": text}),
            await api.member.post("/volume/v3/volumes", json={"volume": {"size": text, text: 1}}),
            await api.admin.post("/placement/resource_providers", json={"name": "x", text: 1}),
            await api.anonymous.post("/identity/v3/auth/tokens", json={"auth": {"identity": {"methods": [text]}}}),
            await api.anonymous.get("/console/" + text.replace("/", "%2f")),
        ]
        assert all(400 <= a.status_code < 500 for a in answers), [(str(a.request.url), a.status_code) for a in answers]
        for answer in answers:
            check(answer)


async def test_what_an_image_holds_is_never_a_page(api: Api) -> None:
    body = {"name": "page.html", "disk_format": "raw", "container_format": "bare"}
    image = (await api.member.post("/image/v2/images", json=body)).json()
    page = b"<!DOCTYPE html><script>alert(1)</script>"
    octets = {"Content-Type": "application/octet-stream"}
    assert (await api.member.put(f"/image{image['file']}", content=page, headers=octets)).status_code == 204
    answer = await api.member.get(f"/image{image['file']}", headers={"Accept": "text/html"})
    assert answer.content == page and answer.headers["content-type"] == "application/octet-stream"
    check(answer)


async def test_the_pages_hold_nothing_of_a_tenant(pages: None, api: Api) -> None:  # noqa: F811
    """They are files of ours, whatever is asked: names reach them through the stream only."""
    for page in ("vnc", "serial"):
        plain = await api.anonymous.get(f"/console/{page}")
        check(plain)
        for text in HOSTILE:
            asked = await api.anonymous.get(f"/console/{page}", params={"path": text, "title": text})
            assert asked.content == plain.content


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.js")) + sorted(STATIC.glob("*.html")), ids=lambda path: path.name)
def test_our_pages_make_no_markup_of_text(path: Path) -> None:
    text = path.read_text()
    assert not SINKS.search(text), SINKS.search(text)
    if path.suffix == ".html":
        tags = Tags(text).found
        assert [a for tag, a in tags if tag == "script" and "src" not in a] == [] and not [a for _, a in tags if any(n.startswith("on") for n in a)]
        assert not re.search(r"https?://", text), "nothing of another origin"
