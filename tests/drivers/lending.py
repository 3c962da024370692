"""Two hosts that lend volumes to one another: simulated, or with real nbdkits on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.namespace import inside

from moln.node import nbdkit
from moln.node.exports import PORTS, NbdExports
from moln.volume.drivers.base import Exports
from moln.volume.drivers.fake import FakeVolumes
from moln.volume.drivers.fake_exports import FakeExports
from moln.volume.drivers.pool import PoolDriver

NOBODY = "nobody"  # a user that is not root, on every machine


class Pair:
    """here: the host `a`, with volumes. there: `b`. pool: the former's."""

    def __init__(self, here: Exports, there: Exports, pool: Any) -> None:
        self.here, self.there, self.pool = here, there, pool

    async def make(self, gib: int = 1) -> str:
        volume = str(uuid.uuid4())
        await self.pool.ensure_volume(volume, gib)
        return volume


@contextlib.asynccontextmanager
async def fake_pair() -> AsyncIterator[Pair]:
    a, b = FakeVolumes(shared=""), FakeVolumes(shared="")
    yield Pair(FakeExports("a", a), FakeExports("b", b), a)


def exports(folder: Path, boot: str = "first") -> NbdExports:
    """Of a host whose everything is in this folder; another `boot` after the machine was started anew."""
    sockets = folder / "s"
    return NbdExports(folder / "lent", folder / "pool/volumes", sockets, "127.0.0.1", boot=boot, seen=sockets, user=NOBODY, qemu=None)


@contextlib.asynccontextmanager
async def real_pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """Below a folder that nbdkit's user may pass through. Raises: Skipped, without root and nbdkit."""
    if os.geteuid() != 0 or not all(shutil.which(program, path="/usr/sbin:/usr/bin") for program in ("nbdkit", "nbdinfo", "qemu-io")):
        pytest.skip("needs root, nbdkit, nbdinfo and qemu-io")
    root = Path(tempfile.mkdtemp(prefix="moln-lent-", dir="/var/tmp"))  # a file system with access lists
    root.chmod(0o711)
    pool = PoolDriver(root / "a/pool", tmp_path / "images", lent=True)
    pair = Pair(exports(root / "a"), exports(root / "b"), pool)
    try:
        await pool.start()
        await pair.here.start()
        await pair.there.start()
        yield pair
    finally:
        await pool.stop()
        for end in (pair.here, pair.there):
            await end.stop()
        for process in [process for found in nbdkit.running(root).values() for process in found]:
            nbdkit.stop(process)
        shutil.rmtree(root)


ENDS = f"( sport >= :{PORTS.start} and sport < :{PORTS.stop} ) or ( dport >= :{PORTS.start} and dport < :{PORTS.stop} )"
CUT = f"""table inet cut {{ chain out {{ type filter hook output priority 0; policy accept;
tcp sport {PORTS.start}-{PORTS.stop - 1} drop; tcp dport {PORTS.start}-{PORTS.stop - 1} drop; }}; }}"""


@pytest.fixture
def apart() -> Iterator[None]:
    """In a network namespace of its own, where a link may be cut: to be asked for before the pair."""
    if os.geteuid() != 0 or not shutil.which("nft", path="/usr/sbin:/usr/bin"):
        pytest.skip("needs root and nft")
    with inside(f"moln-lent-{os.getpid()}"):
        yield


@contextlib.contextmanager
def cut() -> Iterator[None]:
    """Between lenders and those that opened what they lend: whatever is sent is lost, and nobody is told."""
    subprocess.run(["nft", "-f", "-"], input=CUT, text=True, check=True, timeout=20)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "inet", "cut"], check=True, timeout=20)


async def stand_still(pid: int) -> None:
    """Until what is sent to the process is read no more: its threads go on for a moment after it was told to stop."""
    os.kill(pid, signal.SIGSTOP)
    while any(task.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "T" for task in Path(f"/proc/{pid}/task").iterdir()):
        await asyncio.sleep(0.01)


async def arrived() -> bool:
    """Whether a request lies at a lender that has not read it, and whoever sent it knows that it is there."""
    asked = await asyncio.create_subprocess_exec("ss", "-Htn", "state", "established", ENDS, stdout=subprocess.PIPE)
    queues = [tuple(map(int, line.split()[:2])) for line in (await asked.communicate())[0].splitlines()]
    return any(unread for unread, _ in queues) and not any(unsure for _, unsure in queues)
