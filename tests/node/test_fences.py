"""A node's memory of generations."""

from __future__ import annotations

from pathlib import Path

from moln.node import fences
from moln.node.fences import DiskFences


def test_lower_generations_are_refused_also_after_a_restart(tmp_path: Path) -> None:
    first = DiskFences(tmp_path / "fences.db", lambda: 0)
    assert first.admit("server:a", 5)
    assert first.admit("server:a", 5)
    assert not first.admit("server:a", 4)
    assert first.admit("server:b", 1)
    first.close()
    second = DiskFences(tmp_path / "fences.db", lambda: 0)
    assert not second.admit("server:a", 4)
    assert second.admit("server:a", 6)
    assert not second.admit("server:a", 5)


def test_tombstones_are_kept_for_a_day_and_then_forgotten(tmp_path: Path) -> None:
    now = 0
    made = DiskFences(tmp_path / "fences.db", lambda: now)
    assert made.admit("old", 9)
    now = fences.KEEP_US - 1
    for index in range(fences.SWEEP_EVERY):
        made.admit("other", index)
    assert not made.admit("old", 8)
    now = fences.KEEP_US * 3
    for index in range(fences.SWEEP_EVERY):
        made.admit("new", index)
    assert made.admit("old", 1)
