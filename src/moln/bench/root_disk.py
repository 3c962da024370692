"""How long a server's root disk takes to begin as an image that its host, or its cluster, holds: the last rows of `moln bench --images`.

By the clock on the wall, as a boot waits for it: nearly all of it is the file system's, which writes down that blocks are shared.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moln.bench.rows import Row
from moln.compute.drivers.disks import DiskFolder
from moln.host.places import Places
from moln.host.pool import can_reflink, ensure_pool, remove_pool
from moln.host.run import HostError
from moln.host.settings import Disks, HostSettings
from moln.kernel.errors import Failure

PIECE = 4 << 20
TIMES = 20
SPARE_GIB = 4  # of the pool, besides the image
FLAVOR_GIB = 20  # more than the image has: its root disk grows, too
LIMIT_MS = 50
LIMIT_RBD_MS = 150


def root_disk(home: Path, size: int) -> Row:
    """The best of some disks, one after the other. home: where a pool may be made; size: of the image, bytes."""
    name = f"root disk from a cached image of {size >> 20} MiB (reflink)"
    try:
        with pool(home, size) as (folder, what):
            took = sorted(disks(folder, size))
    except HostError as error:
        return Row(name, None, "ms", None, str(error))
    return Row(name, LIMIT_MS, "ms", 1000 * took[0], f"median {1000 * took[len(took) // 2]:.1f} ms; {what}")


@contextlib.contextmanager
def pool(home: Path, size: int) -> Iterator[tuple[Path, str]]:
    """A folder that shares blocks, and what it is: `home`'s own where it can, else one made as `moln up` makes its pool, gone afterwards.

    Raises: HostError, where there is neither.
    """
    places = Places(home)
    places.pool.mkdir(parents=True)
    if can_reflink(places.pool):
        yield places.pool, "the temporary folder's file system"
        return
    if os.geteuid():
        raise HostError(f"{home.parent} cannot reflink, and only root can make a pool that can")
    places.host.mkdir()
    try:
        ensure_pool(places, HostSettings(pool_size_gib=-(-size >> 30) + SPARE_GIB, pool_allocated=False))
        yield places.pool, "a pool in an image file, as moln up makes it"
    finally:
        remove_pool(places)


def disks(pool: Path, size: int) -> Iterator[float]:
    """Seconds for each disk, by the driver that makes guests' disks."""
    images = pool / "images"
    folder = DiskFolder(pool, images)
    folder.prepare()
    image = write_base(folder.bases, size)
    yield from begun(folder, image, size)


def write_base(bases: Path, size: int) -> str:
    """A raw image, as an import leaves it. Its id."""
    bases.mkdir(parents=True)
    image, piece = str(uuid.uuid4()), os.urandom(PIECE)
    with open(bases / image, "wb", buffering=0) as base:
        for at in range(0, size, PIECE):
            base.write(piece[: min(PIECE, size - at)])
        os.fsync(base.fileno())
    return image


def begun(made_by: Any, image: str, size: int) -> Iterator[float]:
    room_gib = max(FLAVOR_GIB, -(-size >> 30))
    for _ in range(TIMES):
        disk = str(uuid.uuid4())
        began = time.perf_counter()
        made_by.ensure(disk, room_gib, image)
        yield time.perf_counter() - began
        made_by.remove(disk)


def root_disk_in_ceph(home: Path, size: int, chosen: Disks) -> Row:
    """The same in the pool that this host's moln.toml names. home: where an image may be written."""
    name = f"root disk from a cached image of {size >> 20} MiB (RBD clone)"
    if not chosen.pool:
        return Row(name, None, "ms", None, "moln.toml names no pool of Ceph (docs/operations.md)")
    from moln.compute.drivers.rbd_disks import RbdDisks
    from moln.kernel.rbd import BASE, name_of
    from moln.node.settings import rbd_pool

    try:
        pool = rbd_pool(chosen)
        assert pool is not None
        folder = RbdDisks(pool, home / "images")
        image = write_base(folder.bases, size)
        try:
            first = str(uuid.uuid4())
            folder.ensure(first, 0, image)  # brings it into the pool
            folder.remove(first)
            took = sorted(begun(folder, image, size))
        finally:
            pool.ask("remove", name=name_of(BASE, image))
            pool.stop()
    except Failure as failure:
        return Row(name, LIMIT_RBD_MS, "ms", None, f"{failure.message} {failure.detail or ''}".strip())
    return Row(name, LIMIT_RBD_MS, "ms", 1000 * took[0], f"median {1000 * took[len(took) // 2]:.1f} ms; {pool.access.name}")
