"""The whole cloud in virtual time under seeded faults: all of it converges, the same seed goes the same way, a broken fence is found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FEW, MANY = 8, 500  # seeds of the fast tests, of the slow ones
ENOUGH = 300  # seeds among which one finds that the fences are broken; about every twentieth does


def simulation(*args: str) -> list[dict[str, Any]]:
    """`python -m tests.simulation …` in a process of its own: the order of sets is part of a run."""
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    command = [sys.executable, "-m", "tests.simulation", *args, "--json"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def failed(outcomes: list[dict[str, Any]]) -> list[str]:
    return [
        "\n".join([f"seed {o['seed']} failed; replay: python -m tests.simulation {o['seed']} --trace", *o["failures"]])
        for o in outcomes if o["failures"]
    ]  # fmt: skip


def test_the_same_seed_goes_the_same_way_twice_and_all_of_it_converges() -> None:
    first, second = simulation("1", str(FEW)), simulation("4", "6")
    assert len(first) == FEW and failed(first) == []
    assert [o["digest"] for o in first[3:6]] == [o["digest"] for o in second], "in another process, among others"
    assert len({o["digest"] for o in first}) == FEW
    assert sum(o["asked"]["done"] for o in first) > 10 * FEW, "the runs did hardly anything"
    assert sum(o["lives"] for o in first) > FEW, "no controller ever died"


@pytest.mark.slow
@pytest.mark.computes
@pytest.mark.timeout(900)
def test_broken_fences_are_found() -> None:
    """Nodes that obey old commands: what was deleted comes back, and a seed says so. The same seed passes with the fences that there are."""
    caught = simulation("1", str(ENOUGH), "--no-fences", "--until-failure")[-1]
    assert caught["failures"], "no seed noticed that nodes obey old commands"
    (whole,) = simulation(str(caught["seed"]))
    assert whole["failures"] == []


@pytest.mark.slow
@pytest.mark.computes
@pytest.mark.timeout(1800)
def test_hundreds_of_seeds_converge() -> None:
    outcomes = simulation("1000", str(1000 + MANY - 1), "--processes", str(os.cpu_count() or 1))
    assert len(outcomes) == MANY and failed(outcomes) == []
