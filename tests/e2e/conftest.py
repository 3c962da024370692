"""Fixtures of the end-to-end tests."""

from __future__ import annotations

import pytest
from tests.e2e.fixtures import demo, healthy, home_network, in_order, moved, north, one, two, world  # noqa: F401


@pytest.hookimpl(tryfirst=True)  # xdist looks at groups before conftests that it found first
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    in_order(items)
