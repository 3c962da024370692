"""What tests of every area share: a cloud on a real SQLite file with fake drivers behind real frames."""

from __future__ import annotations

import asyncio
import gc
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from tests import databases, hashing  # noqa: F401 (it makes hashes cheap)
from tests.postgres import binaries

from moln.app import compose, load_settings
from moln.kernel.clock import Clock
from moln.kernel.cloud import Cloud
from moln.kernel.config import Settings
from moln.kernel.db import metadata
from moln.kernel.link import InProcessLinks
from moln.kernel.policy import Policy
from moln.simulation import simulated_links, start_nodes


@pytest.hookimpl(tryfirst=True)  # before xdist looks at groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of workers side by side (`--dist loadgroup`) one has a whole file of tests that share engines; all that have guests are of one group.

    Slow tests come in the order of the time that they are given, the longest first: else one that takes minutes begins when the others end.
    """
    for item in items:
        if item.get_closest_marker("engines") and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    items.sort(key=given_s, reverse=True)


def given_s(item: pytest.Item) -> float:
    """Seconds, of those that are slow and need no engine: theirs stay as they are, one after another."""
    if not item.get_closest_marker("slow") or item.get_closest_marker("engines"):
        return 0
    given = item.get_closest_marker("timeout")
    return float(given.args[0] if given else item.config.getini("timeout"))


def pytest_collection_finish() -> None:
    """What is imported and collected stays: looking through it again for each cloud that a test makes took a third of their time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests with the fixture `database` run on both; those of the whole app only where their module says so (tests/databases.py)."""
    wanted = getattr(metafunc.module, "POSTGRESQL", "" if "api" in metafunc.fixturenames else "second")
    if "database" not in metafunc.fixturenames or databases.ALWAYS != "sqlite" or not wanted:
        return
    marks = [] if wanted == "fast" else [pytest.mark.postgresql]
    if binaries() is None:
        marks.append(pytest.mark.skip(reason="no PostgreSQL here: Debian's package is `postgresql`"))
    metafunc.parametrize("database", ["sqlite", pytest.param("postgresql", marks=marks)], indirect=True)


@pytest.fixture(scope="module")
def as_installed() -> Iterator[None]:
    """The schema as processes of the package know it: without the tables that tests declare."""
    tests_own = [table for name, table in metadata.tables.items() if name.startswith("test_")]
    for table in tests_own:
        metadata.remove(table)
    yield
    for table in tests_own:
        table.to_metadata(metadata)


@pytest.fixture
async def database(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """Runs the test on each database; the name of the one."""
    databases.chosen.kind = getattr(request, "param", databases.ALWAYS)
    yield databases.chosen.kind
    await databases.drop()


@pytest.fixture
async def cloud(tmp_path: Path, database: str) -> AsyncIterator[Cloud]:
    """A cloud with no area set up: database, policy and links only."""
    clock = Clock()
    db = await databases.opened(tmp_path)
    yield Cloud(settings=Settings(), db=db, policy=Policy.load(), links=InProcessLinks(clock.now_us), home=tmp_path, clock=clock)
    await db.close()


class Api:
    """The whole app over HTTP without a socket. admin, member, reader: clients with a token in a project of their role.

    nodes: the simulated hypervisors by name.
    """

    def __init__(self, app, home: Path):
        self.app = app
        self.cloud = app.cloud
        self._home = home
        self._transport = httpx.ASGITransport(app.asgi, raise_app_exceptions=False)
        self.anonymous = self.client()

    def client(self, token: str | None = None) -> httpx.AsyncClient:
        headers = {"X-Auth-Token": token} if token else {}
        return httpx.AsyncClient(transport=self._transport, base_url="http://127.0.0.1:5000", headers=headers, timeout=60)

    async def token(self, user: str, password: str, project: str) -> str:
        who = {"methods": ["password"], "password": {"user": {"name": user, "domain": {"id": "default"}, "password": password}}}
        body = {"auth": {"identity": who, "scope": {"project": {"name": project, "domain": {"id": "default"}}}}}
        answer = await self.anonymous.post("/identity/v3/auth/tokens", json=body)
        assert answer.status_code == 201, answer.text
        return answer.headers["X-Subject-Token"]

    async def sign_in(self) -> None:
        password = (self._home / "admin.password").read_text().strip()
        self.admin = self.client(await self.token("admin", password, "admin"))

    async def add_user(self, name: str, *, project: str, role: str = "member") -> httpx.AsyncClient:
        """A new user with one role in a project (made when there is none); the client that speaks as them."""
        found = (await self.admin.get("/identity/v3/projects", params={"name": project})).json()["projects"]
        made = found[0] if found else (await self.admin.post("/identity/v3/projects", json={"project": {"name": project}})).json()["project"]
        user = (await self.admin.post("/identity/v3/users", json={"user": {"name": name, "password": "a-Secret-1"}})).json()["user"]
        roles = (await self.admin.get("/identity/v3/roles", params={"name": role})).json()["roles"]
        granted = await self.admin.put(f"/identity/v3/projects/{made['id']}/users/{user['id']}/roles/{roles[0]['id']}")
        assert granted.status_code == 204, granted.text
        return self.client(await self.token(name, "a-Secret-1", project))

    async def settle(self) -> None:
        """Do all the work there is."""
        await self.app.workers.settle()


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A home in which admin and `alice` are known, and their tokens: passwords are slow to hash, and every test of the whole app has these two."""
    home = tmp_path_factory.mktemp("home")

    async def furnish() -> dict[str, str]:
        app = compose(home, load_settings(home, simulate=True), simulated_links)
        await app.set_up()
        api = Api(app, home)
        await api.sign_in()
        member = await api.add_user("alice", project="demo")
        await app.stop()
        return {"admin": api.admin.headers["X-Auth-Token"], "member": member.headers["X-Auth-Token"]}

    return home, asyncio.run(furnish())


@pytest.fixture
async def api(tmp_path: Path, database: str, furnished: tuple[Path, dict[str, str]]) -> AsyncIterator[Api]:
    """The whole app in simulation with one node, signed in as admin and as member `alice` of project `demo`. Work waits for `settle`."""
    home, tokens = furnished
    if database == "sqlite":
        shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    app = compose(tmp_path, load_settings(tmp_path, simulate=True, database_url=await databases.url(tmp_path)), simulated_links)
    await app.set_up()
    nodes = await start_nodes(app.cloud, 1)
    api = Api(app, tmp_path)
    api.nodes = nodes
    if database == "sqlite":
        api.admin, api.member = api.client(tokens["admin"]), api.client(tokens["member"])
    else:
        await api.sign_in()
        api.member = await api.add_user("alice", project="demo")
    yield api
    await app.stop()
