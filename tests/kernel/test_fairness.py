"""Who is served when not everybody can be: places, shares, rates, and an honest Retry-After."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from moln.app import compose, load_settings
from moln.kernel import fairness as module
from moln.kernel.errors import TooManyRequests
from moln.kernel.fairness import LATE_S, LONGEST_WAIT_S, Fairness
from moln.simulation import simulated_links


def used(fairness: Fairness, caller: str, seconds: float, now: float = 0.0) -> None:
    while seconds > 0:
        fairness.leave(fairness.enter("known", caller, now, 0.0), now, min(seconds, 1.0))
        seconds -= 1.0


def test_one_project_leaves_room_for_the_next() -> None:
    fairness = Fairness(places={"known": 64})
    taken = []
    with pytest.raises(TooManyRequests):
        while True:
            taken.append(fairness.enter("known", "greedy", 0.0, 0.0))
    assert len(taken) == 32
    for number in range(8):
        fairness.enter("known", f"p{number}", 0.0, 0.0)
    for place in taken:
        fairness.leave(place, 1.0, 1.0)
    assert fairness.enter("known", "greedy", 1.0, 0.0)
    assert fairness._free["known"] == 64 - 8 - 1


def test_sign_ins_and_uploads_have_places_of_their_own() -> None:
    fairness = Fairness(places={"known": 2, "anonymous": 2, "stream": 2})
    for kind in ("known", "anonymous", "stream"):
        fairness.enter(kind, "a", 0.0, 0.0)
        with pytest.raises(TooManyRequests):
            fairness.enter(kind, "a", 0.0, 0.0)


def test_retry_after_is_how_long_a_place_is_held() -> None:
    fairness = Fairness(places={"known": 2})
    for _ in range(100):
        fairness.leave(fairness.enter("known", "a", 0.0, 0.0), 0.0, 4.5)
    fairness.enter("known", "a", 0.0, 0.0)
    with pytest.raises(TooManyRequests) as refused:
        fairness.enter("known", "a", 0.0, 0.0)
    assert refused.value.retry_after_s == 5


def test_under_overload_the_heavy_project_waits_and_the_light_one_does_not() -> None:
    fairness = Fairness()
    used(fairness, "heavy", 4.0)
    used(fairness, "light", 0.2)
    assert fairness.enter("known", "heavy", 0.0, LATE_S)  # nobody waits long: no overload
    with pytest.raises(TooManyRequests):
        fairness.enter("known", "heavy", 0.0, LATE_S * 2)
    assert fairness.enter("known", "light", 0.0, LATE_S * 2)
    assert fairness.enter("known", "new", 0.0, LATE_S * 2)
    assert fairness.refused["share"] == 1


def test_who_is_alone_has_no_share_to_keep_to() -> None:
    fairness = Fairness()
    used(fairness, "alone", 5.0)
    assert fairness.enter("known", "alone", 0.0, LONGEST_WAIT_S)
    with pytest.raises(TooManyRequests) as refused:
        fairness.enter("known", "alone", 0.0, LONGEST_WAIT_S + 1)
    assert refused.value.retry_after_s == 11


def test_equal_projects_are_all_served_under_overload() -> None:
    fairness = Fairness()
    for name in ("a", "b", "c"):
        used(fairness, name, 2.0)
    for name in ("a", "b", "c"):
        fairness.enter("known", name, 0.0, 1.0)


def test_what_was_used_is_forgotten() -> None:
    fairness = Fairness()
    used(fairness, "heavy", 8.0)
    for second in range(1, 30):
        used(fairness, "other", 0.5, now=float(second))
    assert "heavy" not in fairness._used and abs(fairness._total - sum(fairness._used.values())) < 1e-6


def test_a_rate_allows_a_burst_and_says_when_the_next_may_come() -> None:
    fairness = Fairness(rate=0.5, places={"known": 100})
    fairness.enter("known", "a", 100.0, 0.0)
    with pytest.raises(TooManyRequests) as refused:
        fairness.enter("known", "a", 100.0, 0.0)
    assert refused.value.retry_after_s == 2
    fairness.enter("known", "b", 100.0, 0.0)
    fairness.enter("known", "a", 102.0, 0.0)


def test_buckets_that_are_full_again_are_dropped(monkeypatch) -> None:
    monkeypatch.setattr(module, "CALLERS", 10)
    fairness = Fairness(rate=10.0)
    for number in range(50):
        used(fairness, f"p{number}", 0.001)
    used(fairness, "late", 0.001, now=60.0)
    assert len(fairness._buckets) < 10


async def test_every_place_is_given_back(api) -> None:
    for _ in range(3):
        await api.member.get("/compute/v2.1/servers/no-such")
        await api.member.post("/volume/v3/volumes", content=b"{nonsense")
        await api.anonymous.post("/identity/v3/auth/tokens", json={"auth": {}})
        await api.anonymous.get("/volume/v3/volumes")
        await api.member.put("/image/v2/images/no-such/file", content=b"x", headers={"Content-Type": "application/octet-stream"})
    assert api.cloud.fairness._free == module.PLACES and not api.cloud.fairness._held


async def test_a_project_over_its_rate_reads_429_in_each_services_words(tmp_path: Path) -> None:
    (tmp_path / "moln.toml").write_text("project_requests_per_s = 0.5")
    app = compose(tmp_path, load_settings(tmp_path, simulate=True), simulated_links)
    await app.set_up()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app.asgi), base_url="http://127.0.0.1:5000") as client:
        body: dict[str, Any] = {"auth": {"identity": {"methods": ["password"], "password": {"user": {
            "name": "admin", "domain": {"id": "default"}, "password": (tmp_path / "admin.password").read_text().strip()}}},
            "scope": {"project": {"name": "admin", "domain": {"id": "default"}}}}}  # fmt: skip
        signed_in = await client.post("/identity/v3/auth/tokens", json=body)
        client.headers["X-Auth-Token"] = signed_in.headers["X-Subject-Token"]
        assert (await client.get("/compute/v2.1/servers")).status_code == 200
        for path, key in (("/compute/v2.1/servers", "overLimit"), ("/volume/v3/volumes", None), ("/network/v2.0/ports", None),
                          ("/identity/v3/users", "error"), ("/image/v2/images", None), ("/placement/resource_providers", None)):  # fmt: skip
            refused = await client.get(path)
            assert refused.status_code == 429, path
            assert 1 <= int(refused.headers["Retry-After"]) <= 2
            assert key is None or key in refused.json()
        await client.post("/volume/v3/volumes", json={"volume": {"size": 1}})
        written = (tmp_path / "log/audit/audit.log").read_text()
        assert '"429"' not in written
    await app.stop()


async def test_many_requests_at_once_of_one_project_are_bounded_and_others_are_served(api) -> None:
    api.cloud.fairness._free["known"] = 8
    other = await api.add_user("bob", project="other")
    answers, mine = await asyncio.gather(
        asyncio.gather(*(api.member.post("/volume/v3/volumes", json={"volume": {"size": 1}}) for _ in range(20))),
        other.get("/volume/v3/volumes"),
    )
    statuses = {a.status_code for a in answers}
    assert 202 in statuses and 429 in statuses and statuses <= {202, 413, 429}
    assert all(int(a.headers["Retry-After"]) >= 1 for a in answers if a.status_code == 429)
    assert mine.status_code == 200
    assert api.cloud.fairness._free["known"] == 8


async def test_placement_says_itself_how_long_an_answer_holds(api) -> None:
    listed = await api.admin.get("/placement/resource_providers", headers={"OpenStack-API-Version": "placement 1.39"})
    assert listed.headers["cache-control"] == "no-cache"
