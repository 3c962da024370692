"""A real host for drivers that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.node import bench


@pytest.fixture(scope="module")
def engine_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bench.Host]:
    """Engines below a short path (unix sockets), for as long as a module of tests runs."""
    if not bench.available():
        pytest.skip("needs root and engines")
    with bench.guests_alone():
        with bench.real_host("moln-drv") as host:
            yield host
