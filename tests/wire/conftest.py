"""Wire tests in YAML: requests, and what must come back. The format is described in README.md beside this file."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml
from tests import databases
from tests.postgres import binaries

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
KNOWN = {*METHODS, "name", "as", "version", "headers", "body", "raw", "status", "answer", "answer_headers", "absent", "keep", "settle"}


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    return WireFile.from_parent(parent, path=file_path) if file_path.suffix == ".yaml" else None


class WireFile(pytest.File):
    def collect(self) -> Iterator[pytest.Item]:
        name = self.path.stem.replace("_", "-")
        if databases.ALWAYS == "sqlite":
            yield WireItem.from_parent(self, name=name, database="sqlite")
        item = WireItem.from_parent(self, name=f"{name}[postgresql]", database="postgresql")
        if databases.ALWAYS == "sqlite":
            item.add_marker(pytest.mark.postgresql)
        yield item


class Mismatch(Exception):
    """What came back is not what the file says."""


class WireItem(pytest.Item):
    """One file: its requests in order, against one cloud, on one of the databases."""

    def __init__(self, *, database: str, **kw: Any):
        super().__init__(**kw)
        self.database = database

    def runtest(self) -> None:
        if self.database == "postgresql" and binaries() is None:
            pytest.skip("no PostgreSQL here: Debian's package is `postgresql`")
        story = yaml.safe_load(self.path.read_text())
        asyncio.run(self._run(story["tests"], story.get("nodes", 1)))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        return str(excinfo.value) if isinstance(excinfo.value, Mismatch) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"wire: {self.path.name}"

    async def _run(self, steps: list[dict[str, Any]], nodes: int) -> None:
        from tests.conftest import Api

        from moln.app import compose, load_settings
        from moln.simulation import simulated_links, start_nodes

        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            databases.chosen.kind = self.database
            app = compose(home, load_settings(home, simulate=True, database_url=await databases.url(home)), simulated_links)
            await app.set_up()
            await start_nodes(app.cloud, nodes)
            api = Api(app, home)
            await api.sign_in()
            api.member = await api.add_user("alice", project="demo")
            api.reader = await api.add_user("rita", project="demo", role="reader")
            api.other = await api.add_user("mallory", project="other")
            kept: dict[str, str] = {}
            try:
                for number, step in enumerate(steps, 1):
                    await take(api, step, kept, f"{self.path.name} #{number} {step.get('name', '')!r}")
            finally:
                await app.stop()
                await databases.drop()


async def take(api: Any, step: dict[str, Any], kept: dict[str, str], where: str) -> None:
    """Send one request and compare its answer. Raises: Mismatch."""
    if unknown := set(step) - KNOWN:
        raise Mismatch(f"{where}: what are {sorted(unknown)}?")
    said, step = step, fill(step, kept)
    method = next(m for m in METHODS if m in step)
    headers = {name: str(value) for name, value in step.get("headers", {}).items()}
    if "version" in step:
        headers["OpenStack-API-Version"] = step["version"]
    content = step["raw"].encode() if "raw" in step else json.dumps(step["body"]).encode() if "body" in step else None
    if content is not None:
        headers.setdefault("Content-Type", "application/json")
    answer = await getattr(api, step.get("as", "member")).request(method, step[method], content=content, headers=headers)
    what = f"{where}\n{method} {step[method]} answered {answer.status_code}:\n{answer.text[:2000]}\n"
    if answer.status_code != step.get("status", 200):
        raise Mismatch(f"{what}expected {step.get('status', 200)}")
    found = answer.json() if answer.content and "json" in answer.headers.get("content-type", "") else answer.text
    if "answer" in step and (problem := differs(step["answer"], found, "answer")):
        raise Mismatch(what + problem)
    for name, wanted in step.get("answer_headers", {}).items():
        if problem := differs(wanted, answer.headers.get(name), name):
            raise Mismatch(what + problem)
    for path in step.get("absent", []):
        if look(found, path, None) is not None:
            raise Mismatch(f"{what}{path} is there")
    for name, path in said.get("keep", {}).items():
        kept[name] = answer.headers[path[7:]] if path.startswith("header:") else look(found, path)
    if step.get("settle", method not in ("GET", "HEAD")):
        await api.settle()


def fill(value: Any, kept: dict[str, str]) -> Any:
    """`$name` in every text replaced by what an earlier answer gave."""
    if isinstance(value, str):
        return Template(value).safe_substitute(kept)
    if isinstance(value, list):
        return [fill(item, kept) for item in value]
    if isinstance(value, dict):
        return {fill(key, kept): fill(item, kept) for key, item in value.items()}
    return value


def look(found: Any, path: str, *default: Any) -> Any:
    """`servers.0.id` inside an answer. Raises: Mismatch, without a default."""
    for part in path.split("."):
        try:
            found = found[int(part)] if isinstance(found, list) else found[part]
        except (KeyError, IndexError, TypeError, ValueError):
            if default:
                return default[0]
            raise Mismatch(f"there is no {path} in {found}") from None
    return found


def differs(wanted: Any, found: Any, at: str) -> str:
    """How `found` is not what was wanted, "" when it is: objects may hold more, lists may not, /…/ is a regular expression."""
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            return f"{at} is {found!r}, not an object"
        return next((p for key, item in wanted.items() if (p := differs(item, found.get(key), f"{at}.{key}"))), "")
    if isinstance(wanted, list):
        if not isinstance(found, list) or len(found) != len(wanted):
            return f"{at} is {found!r}, not {len(wanted)} items"
        return next((p for i, item in enumerate(wanted) if (p := differs(item, found[i], f"{at}.{i}"))), "")
    if isinstance(wanted, str) and len(wanted) > 1 and wanted[0] == wanted[-1] == "/":
        return "" if isinstance(found, str) and re.search(wanted[1:-1], found) else f"{at} is {found!r}, not like {wanted}"
    return "" if wanted == found and type(wanted) is type(found) else f"{at} is {found!r}, not {wanted!r}"
