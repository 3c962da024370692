"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.fixtures import demo, home_network, in_order, moved, north, one, two, world  # noqa: F401
from tests.node import bench


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    in_order(items)


@pytest.fixture(scope="session")
def cloud() -> Iterator[object]:
    if not bench.available():
        pytest.skip("needs root and engines")
    from tests.e2e.cloud import real_cloud

    with real_cloud() as made:
        yield made
