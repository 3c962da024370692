"""What one controller revokes, another on the same PostgreSQL refuses: as soon as it hears of it, and at once while it cannot hear."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests import databases
from tests.conftest import Api
from tests.postgres import binaries

from moln.app import compose, load_settings
from moln.identity.drivers.fake import FakeDirectory
from moln.identity.ops.signing_in import look_again
from moln.simulation import simulated_links

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.skipif(binaries() is None, reason="no PostgreSQL here: Debian's package is `postgresql`"),
]


@pytest.fixture
async def apis(tmp_path: Path) -> AsyncIterator[list[Api]]:
    """Two controllers with the same home, so that they have the same keys."""
    url = await databases.server().fresh()
    made = []
    for _ in range(2):
        app = compose(tmp_path, load_settings(tmp_path, simulate=True, database_url=url, audit_mib=0), simulated_links)
        await app.set_up()
        made.append(Api(app, tmp_path))
        await made[-1].sign_in()
    yield made
    for api in made:
        await api.app.stop()
    await databases.server().drop(url)


async def projects(api: Api, token: str) -> int:
    return (await api.client(token).get("/identity/v3/auth/projects")).status_code


async def change_password(api: Api, name: str) -> None:
    user = (await api.admin.get("/identity/v3/users", params={"name": name})).json()["users"][0]
    answer = await api.admin.patch(f"/identity/v3/users/{user['id']}", json={"user": {"password": "another-Secret-2"}})
    assert answer.status_code == 200, answer.text


async def test_a_revoked_token_is_refused_by_the_other_controller(apis: list[Api]) -> None:
    one, two = apis
    alice = await one.add_user("alice", project="demo")
    token = alice.headers["X-Auth-Token"]
    assert await projects(two, token) == 200  # and it is remembered
    await change_password(one, "alice")
    async with asyncio.timeout(20):
        while await projects(two, token) != 401:
            await asyncio.sleep(0.01)


async def test_a_controller_that_cannot_hear_trusts_no_token_that_it_remembers(apis: list[Api]) -> None:
    one, two = apis
    alice = await one.add_user("alice", project="demo")
    token = alice.headers["X-Auth-Token"]
    assert await projects(two, token) == 200
    await two.cloud.db._tail.stop()  # type: ignore[attr-defined]
    async with asyncio.timeout(20):
        while two.cloud.db.feed.fresh:
            await asyncio.sleep(0.01)
    await change_password(one, "alice")
    assert await projects(two, token) == 401


async def test_where_a_domains_users_are_is_known_to_the_other_controller_and_so_is_who_left(apis: list[Api]) -> None:
    one, two = apis
    directory = FakeDirectory()
    directory.add("ada", "analytical")
    for api in apis:
        api.cloud.areas["identity"].directory_of = lambda options: directory
    domain = (await one.admin.post("/identity/v3/domains", json={"domain": {"name": "corp"}})).json()["domain"]["id"]
    user = {"name": "ada", "domain": {"id": domain}, "password": "analytical"}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
    assert (await two.anonymous.post("/identity/v3/auth/tokens", json=body)).status_code == 401  # and that there is no directory is remembered
    config = {"identity": {"driver": "ldap"}, "ldap": {"url": "ldap://x"}}
    assert (await one.admin.put(f"/identity/v3/domains/{domain}/config", json={"config": config})).status_code == 201
    async with asyncio.timeout(20):
        while (answer := await two.anonymous.post("/identity/v3/auth/tokens", json=body)).status_code != 201:
            await asyncio.sleep(0.01)
    token = answer.headers["X-Subject-Token"]
    assert await projects(one, token) == await projects(two, token) == 200
    directory.add("ada", "analytical", enabled=False)
    await look_again(one.cloud)
    assert await projects(one, token) == 401
    async with asyncio.timeout(20):
        while await projects(two, token) != 401:
            await asyncio.sleep(0.01)
