"""A real Ceph that hosts in network namespaces of their own reach."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.image import ceph
from tests.node import bench

from moln.kernel.rbd import Access

ADDRESSES = itertools.count(1)  # of a range that is for tests (RFC 2544): one for each cluster


@contextlib.contextmanager
def ceph_seen_by(*hosts: bench.Host) -> Iterator[Access]:
    """The same where hosts' guests reach it, its ceph.conf where QEMU may read it."""
    if not ceph.available():
        pytest.skip("needs root and Ceph's packages")
    address = f"198.18.77.{next(ADDRESSES)}"
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="moln-ceph-", dir="/var/tmp"))
        stack.callback(shutil.rmtree, folder)
        folder.chmod(0o755)
        bench.shell("ip", "addr", "add", f"{address}/32", "dev", "lo")
        stack.callback(bench.shell, "ip", "addr", "del", f"{address}/32", "dev", "lo")
        for host in hosts:
            stack.enter_context(host.sees(address))
        yield stack.enter_context(ceph.ceph(folder, address)).disks()
