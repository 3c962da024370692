"""A controller killed at any point of a boot, an attach, a delete leaves nothing broken behind (DESIGN 2–4)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.faults import lifecycle, moves, scenes, storage

LIMIT_S = 1200
MEMORY = Path("/dev/shm")  # a killed process loses nothing there that it would keep on a disk, and fsync costs nothing


@pytest.mark.timeout(LIMIT_S)
@pytest.mark.slow
@pytest.mark.computes
@pytest.mark.parametrize("scene", [s.name for s in (*scenes.SCENES, *storage.SCENES, *lifecycle.SCENES, *moves.SCENES)])
def test_a_controller_killed_at_any_point_leaves_nothing_broken(scene: str) -> None:
    check(scene, 1)


@pytest.mark.sample
@pytest.mark.parametrize(("scene", "step"), [("boot", 19), ("delete", 11), ("volume-create", 7), ("volume-delete", 13), ("migrate", 41), ("live-migrate", 37), ("evacuate", 31)])
def test_a_controller_killed_at_some_points_leaves_nothing_broken(scene: str, step: int) -> None:
    check(scene, step)


def check(scene: str, step: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="moln-faults-", dir=MEMORY if MEMORY.is_dir() else None))
    command = [sys.executable, "-m", "tests.faults.killing", scene, str(folder / scene), str(step)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, cwd=Path(__file__).parents[2])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{scene}: {found['points']} points ({found['kinds']}), {found['runs']} runs")
    assert found["failures"] == []
    assert found["points"] > 0
    assert found["kinds"].get("sql", 0) > 0
    assert found["kinds"].get("link", 0) > 0 or scene.startswith("image")
