"""A real etcd: leases of nodes, elections with tokens that grow, and what is left while it is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.etcd_server import EtcdServer

from moln.kernel.clock import Clock
from moln.kernel.cloud import Cloud
from moln.kernel.config import Settings
from moln.kernel.db.sqlite import SqliteDatabase
from moln.kernel.errors import Invalid, Unavailable
from moln.kernel.etcd.gateway import Etcd
from moln.kernel.etcd.leaders import EtcdLeaders
from moln.kernel.etcd.settings import SharedSettings
from moln.kernel.link import InProcessLinks
from moln.kernel.policy import Policy

pytestmark = pytest.mark.engines
NOW = Clock().now_us
Begin = Callable[[str], EtcdLeaders]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    made = EtcdServer(tmp_path_factory.mktemp("etcd"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def begin(server: EtcdServer) -> AsyncIterator[Begin]:
    """Another controller."""
    made: list[EtcdLeaders] = []

    def controller(name: str) -> EtcdLeaders:
        made.append(EtcdLeaders(server.client(name=name), NOW, name, lease_s=2))
        return made[-1]

    yield controller
    for each in made:
        await each.stop()


async def until(ask: Callable[[], Any]) -> Any:
    async with asyncio.timeout(30):
        while not (found := await ask()):
            await asyncio.sleep(0.1)
    return found


async def test_a_node_is_no_controller_to_etcd(server: EtcdServer) -> None:
    with pytest.raises(Unavailable):
        await server.client("node", "n1").put("nodes/n2", "for ever")


async def test_a_server_that_is_away_is_passed_over(server: EtcdServer) -> None:
    etcd = Etcd(["https://127.0.0.1:1", server.url], lambda: server.context("controller", "test"))
    await etcd.put("x", "1")
    assert (await etcd.all("x"))[""] == "1" and etcd.trouble == ""


async def test_one_leads_and_its_token_is_below_the_next_ones(begin: Begin) -> None:
    one, two = begin("c1"), begin("c2")
    first = await one.lead("engine")
    assert first is not None and await one.lead("engine") == first == one.token("engine")
    assert await two.lead("engine") is None and await two.lead("another") is not None
    await one.stop()
    second = await two.lead("engine")
    assert second is not None and second > first


async def test_a_leader_that_stood_still_is_replaced_and_hears_of_it(begin: Begin) -> None:
    one, two = begin("c1"), begin("c2")
    await two.start()
    first = await one.lead("work")
    assert first is not None
    second = await until(lambda: two.lead("work"))  # nobody renews c1's lease: it never started
    assert second > first and one.token("work") == first  # it knows nothing yet: what it writes to has to refuse it
    await one.start()
    await until(lambda: _none(one.token("work")))
    assert await one.lead("work") is None


async def test_who_resigns_leads_again_only_with_a_higher_token(begin: Begin) -> None:
    one = begin("c1")
    first = await one.lead("resigned")
    one.resign("resigned")
    assert one.token("resigned") is None
    again = await one.lead("resigned")
    assert first is not None and again is not None and again > first


async def _none(found: object) -> bool:
    return found is None


async def test_a_leader_goes_on_while_etcd_is_away_and_nobody_else_is_elected(server: EtcdServer, begin: Begin) -> None:
    one, two = begin("c1"), begin("c2")
    first = await one.lead("lasting")
    await one.start()
    server.stop()
    assert await one.lead("lasting") == first
    with pytest.raises(Unavailable):
        await two.lead("lasting")
    assert two.trouble
    server.start()
    assert await until(lambda: _is(one.lead("lasting"), first)) and await two.lead("lasting") is None


async def _is(asked: Any, wanted: Any) -> bool:
    return bool(await asked == wanted)


async def test_settings_change_at_all_controllers_and_stay_while_etcd_is_away(server: EtcdServer, tmp_path: Path) -> None:
    clouds = [cloud_of(tmp_path, "info"), cloud_of(tmp_path, "warning")]
    one, two = (SharedSettings(server.client(), cloud) for cloud in clouds)
    await one.start()
    await two.start()
    with pytest.raises(Invalid, match="does not change without a restart"):
        await one.set("database_url", "x")
    for bad in ("-1", "many", "nan"):
        with pytest.raises(Invalid, match="project_requests_per_s"):
            await one.set("project_requests_per_s", bad)
    with pytest.raises(Invalid, match="log_level"):
        await one.set("log_level", "loud")
    await one.set("project_requests_per_s", "7.5")
    await until(lambda: _is(_now([c.fairness._rate for c in clouds]), [7.5, 7.5]))
    assert two.all()["project_requests_per_s"] == {"value": 7.5, "shared": True}
    assert [s.all()["log_level"] for s in (one, two)] == [{"value": "info", "shared": False}, {"value": "warning", "shared": False}]

    await asyncio.to_thread(server.stop)
    with pytest.raises(Unavailable):
        await one.set("project_requests_per_s", "1")
    assert [c.fairness._rate for c in clouds] == [7.5, 7.5]
    await asyncio.to_thread(server.start)
    await until(lambda: _done(two.set("project_requests_per_s", None)))
    await until(lambda: _is(_now([c.fairness._rate for c in clouds]), [0.0, 0.0]))
    await one.stop()
    await two.stop()


def cloud_of(home: Path, level: str) -> Cloud:
    db = SqliteDatabase(home / "cloud.db", now_us=NOW)
    return Cloud(settings=Settings(log_level=level), db=db, policy=Policy.load(), links=InProcessLinks(NOW), home=home)


async def _now(found: object) -> object:
    return found


async def _done(asked: Any) -> bool:
    await asked
    return True


async def test_tokens_grow_even_when_etcd_has_lost_everything(server: EtcdServer, begin: Begin) -> None:
    one = begin("c1")
    first = await one.lead("token")
    server.stop()
    server.forget()
    server.start()
    two = begin("c2")
    second = await two.lead("token")
    assert first is not None and second is not None and second > first
    await one.start()
    await until(lambda: _none(one.token("token")))
