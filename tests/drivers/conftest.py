"""A real host for drivers that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.drivers.ceph_hosts import ceph_seen_by
from tests.image import ceph
from tests.node import bench

from moln.kernel.rbd import Access


@pytest.fixture(scope="module")
def engine_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bench.Host]:
    """Engines below a short path (unix sockets), for as long as a module of tests runs."""
    if not bench.available():
        pytest.skip("needs root and engines")
    with bench.guests_alone():
        with bench.real_host("moln-drv") as host:
            yield host


@pytest.fixture(scope="module")
def in_ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    """A real Ceph with an empty pool for disks and volumes."""
    if not ceph.available():
        pytest.skip("needs root and Ceph's packages")
    with ceph.ceph(tmp_path_factory.mktemp("ceph")) as cluster:
        yield cluster.disks()


@pytest.fixture(scope="module")
def seen_ceph(engine_host: bench.Host) -> Iterator[Access]:
    with ceph_seen_by(engine_host) as found:
        yield found
