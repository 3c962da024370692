"""OpenStack's own suite against a simulated cloud. What it found when it last ran whole: docs/compatibility.md."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.tempest import run

AT_MOST_S = 600  # the suite itself, on two cores
pytestmark = [pytest.mark.slow, pytest.mark.timeout(AT_MOST_S + 600), pytest.mark.xdist_group("tempest")]  # all look at one run
THREE = ("tempest.api.compute.", "tempest.api.network.", "tempest.api.volume.")


@pytest.fixture(scope="module")
def tests() -> list[dict[str, Any]]:
    if shutil.which("qemu-img") is None:
        pytest.skip("qemu-img makes the image that the suite boots")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "moln-tempest"
    return run.run(cache, run.EVERYTHING, workers=2, nodes=2, timeout_s=AT_MOST_S)


def ran(tests: list[dict[str, Any]]) -> Counter[str]:
    return Counter(test["status"] for test in tests if test["status"] != "skip")


def test_nothing_fails_but_what_is_known_to(tests: list[dict[str, Any]]) -> None:
    failed = run.unknown_failures(tests)
    assert not failed, "\n\n".join(f"{test['name']}\n{test['reason'][-1500:]}" for test in failed)


def test_all_of_smoke_passes(tests: list[dict[str, Any]]) -> None:
    counted = ran([test for test in tests if test["smoke"]])
    assert counted["fail"] == 0
    assert counted["success"] >= 85


def test_what_is_implemented_passes_the_suites_of_compute_network_and_volume(tests: list[dict[str, Any]]) -> None:
    counted = ran([test for test in tests if test["name"].startswith(THREE)])
    assert counted.total() >= 600
    assert counted["success"] >= 0.98 * counted.total()


def test_all_of_identity_passes(tests: list[dict[str, Any]]) -> None:
    """As many as Keystone itself passes."""
    counted = ran([test for test in tests if "tempest.api.identity." in test["name"]])
    assert counted["fail"] == 0
    assert counted["success"] >= 134
