"""A real host for drivers that need one."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
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


ADDRESS = "198.18.77.1"  # of a range that is for tests (RFC 2544)


@pytest.fixture(scope="module")
def in_ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    """A real Ceph with an empty pool for disks and volumes."""
    if not ceph.available():
        pytest.skip("needs root and Ceph's packages")
    with ceph.ceph(tmp_path_factory.mktemp("ceph")) as cluster:
        yield cluster.disks()


@contextlib.contextmanager
def ceph_seen_by(*hosts: bench.Host) -> Iterator[Access]:
    """The same where hosts' guests reach it, its ceph.conf where QEMU may read it."""
    if not ceph.available():
        pytest.skip("needs root and Ceph's packages")
    folder = Path(tempfile.mkdtemp(prefix="moln-ceph-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        bench.shell("ip", "addr", "add", f"{ADDRESS}/32", "dev", "lo")
        with contextlib.ExitStack() as stack:
            for host in hosts:
                stack.enter_context(host.sees(ADDRESS))
            yield stack.enter_context(ceph.ceph(folder, ADDRESS)).disks()
    finally:
        bench.shell("ip", "addr", "del", f"{ADDRESS}/32", "dev", "lo")
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def seen_ceph(engine_host: bench.Host) -> Iterator[Access]:
    with ceph_seen_by(engine_host) as found:
        yield found
