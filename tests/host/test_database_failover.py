"""PostgreSQL of the cloud's own on three controllers: whichever machine goes, or is cut off, nothing that was answered is lost.

`moln controller init --ha`, `join` and `remove` as an operator types them; real PostgreSQL, Patroni and etcd, in namespaces.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.host.ha_lab import NAMES, HaLab, Writer, eventually, gap_s
from tests.network import machines

from moln.cli import admin
from moln.host.places import Places

pytestmark = [pytest.mark.engines, pytest.mark.skipif(not machines.available(), reason="needs root and engines")]
CUT_S, GAP_BOUND_S = 30, 60


@pytest.fixture(scope="module")
def lab() -> Iterator[HaLab]:
    found = HaLab()
    try:
        found.begin()
        yield found
    finally:
        found.close()


def test_who_joins_follows_and_every_controller_knows_where_the_database_is(lab: HaLab) -> None:
    eventually(lambda: lab.standbys("c1") == {"c2", "c3"}, "both stream")
    hosts = "192.0.2.1:5432\n192.0.2.2:5432\n192.0.2.3:5432\n"
    for name in NAMES:
        eventually(lambda name=name: (lab.home / name / "controllers/database-hosts").read_text() == hosts, f"{name} has heard")
        assert "database: c1 takes writes; standbys: c2 (quorum, streaming" in lab.moln(name, "status")
    assert [v for v in violations(lab, "c2") if "database" in v.lower()] == []


def test_the_primarys_machine_dies_under_writes(lab: HaLab) -> None:
    primary = lab.primary("c2")
    other = next(name for name in NAMES if name != primary)
    writer = Writer(lab, other, "killed", seconds=60)
    time.sleep(3)  # of writes before
    lab.kill(primary)
    answers = writer.end()
    check(lab, other, answers)
    assert lab.primary(other, but=primary) != primary
    assert any(f"The database at {primary} does not follow" in v for v in violations(lab, other))
    lab.start_etcd(primary)
    lab.moln(primary, "up", "--detach")
    eventually(lambda: primary in lab.standbys(other), "it follows, once it is back")


def test_a_primary_that_is_cut_off_takes_no_writes_and_follows_afterwards(lab: HaLab) -> None:
    primary = lab.primary("c3")
    other = next(name for name in NAMES if name != primary)
    writers = [Writer(lab, name, f"cut-{name}", seconds=90) for name in (primary, other)]
    time.sleep(3)
    cut_at = time.time()
    lab.cut(NAMES.index(primary) + 1, "down")
    time.sleep(CUT_S)
    lab.cut(NAMES.index(primary) + 1, "up")
    own, others = (writer.end() for writer in writers)
    new = lab.primary(other, but=primary)
    eventually(lambda: {primary} <= lab.standbys(new), "it follows, once it is reached again")
    check(lab, other, others)
    check(lab, other, own)
    assert not [name for at, name, status, _ in own if status == 201 and cut_at + 2 < at < cut_at + CUT_S], "who is cut off promises nothing"


def test_a_dead_controller_is_replaced(lab: HaLab) -> None:
    primary = lab.primary("c1")
    dead = next(name for name in NAMES[1:] if name != primary)
    lab.kill(dead)
    lab.start_etcd(dead)  # which is the test's
    lab.moln(primary, "controller", "remove", dead)
    eventually(lambda: dead not in lab.standbys(primary), "it is gone")
    eventually(lambda: not [v for v in violations(lab, primary) if dead in v], "and nobody misses it")
    lab.moln(dead, "down", "--purge")
    lab.join(dead, at=primary)
    eventually(lambda: dead in lab.standbys(primary), "the new one follows")


def test_a_backup_is_made_at_any_controller(lab: HaLab) -> None:
    other = next(name for name in NAMES if name != lab.primary("c1"))
    said = lab.moln(other, "backup", str(lab.home / "saved.moln"))
    assert "files" in said and (lab.home / "saved.moln").stat().st_mode & 0o077 == 0


def violations(lab: HaLab, at: str) -> list[str]:
    return [v["message"] for v in admin.ask(Places(lab.home / at), "doctor", timeout_s=30)["violations"]]


def check(lab: HaLab, at: str, answers: list[tuple[float, str, int, str | None]]) -> None:
    """What was answered is there, and nobody heard of an error that is not the database's being away."""
    answered = {name for _, name, status, _ in answers if status == 201}
    statuses = {status: sum(1 for a in answers if a[2] == status) for status in {a[2] for a in answers}}
    gap = gap_s(answers)
    print(f"{len(answered)} answered, statuses {statuses}, nothing written for {gap:.1f} s")
    assert answered - lab.names(at) == set()
    assert set(statuses) <= {201, 503} and gap < GAP_BOUND_S, statuses
    assert all(again for _, _, status, again in answers if status == 503), "who is told to wait is told for how long"
