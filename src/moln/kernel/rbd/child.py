"""Runs in a process of its own, by the system's Python, where Ceph's packages put `rados` and `rbd`: one request after the other to a pool.

    child.py ACCESS    JSON {"conf", "user", "keyring", "pool", "timeout_s"}; then a request a line {"do": verb, ...}, and an answer a line:
    {"ok": value} | {"no": "absent" | "large" | "full" | "busy", "said"} | {"failed": said}, before it {"at": bytes} as often as something moved.

It imports nothing of moln. An image is made under a hidden name and renamed when it is whole. A copy is a clone (format 2) of a snapshot
that lasts as long as its clones do: what they stand on may be removed before they are; it waits in the pool's trash for the last of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import rados
import rbd

PIECE = 8 << 20
SNAP = "snap"
HIDDEN = "new-"
DEEPEST = 6  # clones upon clones; then one gets data of its own, for each costs every read of what none of them wrote
OLD_S = 3600.0  # a hidden image that nobody has open for so long was left by a crash
TURNS, BUCKETS, LOCK = "moln.turn.", 64, "moln"  # objects that stay, empty, with a lock each
TURN_S, LOOK_S = 60, 0.02  # TURN_S: after which the lock of a host that died ends
FEATURES = (
    rbd.RBD_FEATURE_LAYERING | rbd.RBD_FEATURE_EXCLUSIVE_LOCK | rbd.RBD_FEATURE_OBJECT_MAP | rbd.RBD_FEATURE_FAST_DIFF | rbd.RBD_FEATURE_DEEP_FLATTEN
)  # fmt: skip
BACKING = (rbd.ImageHasSnapshots, rbd.ImageBusy)  # why what is in the trash stays there


class Large(Exception):
    """The source does not fit. args: its bytes."""


def tell(**answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


TOLD = [0.0]  # when progress was told last


def moved(at: int = 0, total: int = 0) -> int:
    """Progress, as librbd reports it and we do: passed on at most twice a second. librbd goes on at 0."""
    if time.monotonic() - TOLD[0] > 0.5:
        TOLD[0] = time.monotonic()
        tell(at=at)
    return 0


class Images:
    """The verbs. Sizes: bytes."""

    def __init__(self, cluster: Any, pool: Any) -> None:
        self.cluster = cluster
        self.pool = pool
        self.all = rbd.RBD()

    def open(self, name: str, **how: Any) -> Any:
        return rbd.Image(self.pool, name, **how)

    # ---- making

    def appear(self, name: str, make: Callable[[str], None]) -> None:
        """Whoever comes first wins; what the other made goes."""
        if self.size(name) is not None:
            return
        hidden = HIDDEN + str(uuid.uuid4())
        try:
            make(hidden)
            with self.turn(name):
                late = self.size(name) is not None
                if not late:
                    self.all.rename(self.pool, hidden, name)
            if late:
                self.remove(hidden)
        except BaseException:
            with contextlib.suppress(rbd.Error):  # then a sweep finds it
                self.remove(hidden)
            raise

    @contextlib.contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """One at a time, of all hosts, gives an image this name: librbd lets two renames to the same name both succeed, and one image is no more found."""
        lock, mine, end = f"{TURNS}{zlib.crc32(name.encode()) % BUCKETS}", str(uuid.uuid4()), time.monotonic() + 2 * TURN_S
        while True:
            try:
                self.pool.lock_exclusive(lock, LOCK, mine, "", TURN_S)
                break
            except rados.ObjectBusy:
                if time.monotonic() > end:
                    raise rbd.ImageBusy(f"{name} is being named by others") from None
            time.sleep(LOOK_S)
            moved()
        try:
            yield
        finally:
            with contextlib.suppress(rados.Error):  # it ends by itself then
                self.pool.unlock(lock, LOCK, mine)

    def create(self, name: str, size: int) -> None:
        self.all.create(self.pool, name, size, old_format=False, features=FEATURES)

    def blank(self, name: str, size: int) -> None:
        self.appear(name, lambda hidden: self.create(hidden, size))

    def clone(self, name: str, size: int, parent: str, most: int | None = None) -> None:
        """From a base, which does not change (SNAP). size: at least. most: what the base may have."""
        self.appear(name, lambda hidden: self.stand(parent, SNAP, hidden, size, most))

    def stand(self, parent: str, snap: str, name: str, size: int, most: int | None) -> None:
        with self.open(parent, snapshot=snap, read_only=True) as image:
            if most is not None and image.size() > most:
                raise Large(image.size())
        self.all.clone(self.pool, parent, snap, self.pool, name, features=FEATURES)
        self.grow(name, size)

    def copy(self, name: str, source: str, size: int = 0, most: int | None = None) -> None:
        """From what the source is now."""

        def make(hidden: str) -> None:
            with self.open(source) as image:
                image.create_snap(hidden)
            try:
                self.stand(source, hidden, hidden, size, most)
            finally:
                with self.open(source) as image:
                    image.remove_snap(hidden)  # out of sight, for as long as the clone needs it
            if self.depth(hidden) > DEEPEST:
                with self.open(hidden) as image:
                    image.flatten(on_progress=moved)

        self.appear(name, make)

    def depth(self, name: str) -> int:
        found = 0
        with self.open(name, read_only=True) as image:
            parent = parent_of(image)
        while parent is not None:
            found += 1
            with rbd.Image(self.pool, image_id=parent, read_only=True) as image:
                parent = parent_of(image)
        return found

    def take(self, name: str, path: str, size: int = 0, snap: bool = True) -> None:
        """From a local file. snap: clones are to stand on it. Zeros are not written."""

        def make(hidden: str) -> None:
            with open(path, "rb", buffering=0) as file:
                length = os.fstat(file.fileno()).st_size
                self.create(hidden, max(size, length))
                with self.open(hidden) as image:
                    for at in pieces(file.fileno(), length):
                        piece = os.pread(file.fileno(), min(PIECE, length - at), at)
                        if piece.count(0) != len(piece):
                            image.write(piece, at)
                        moved(at)
                    image.flush()
                    if snap:
                        image.create_snap(SNAP)
                        image.protect_snap(SNAP)

        self.appear(name, make)

    # ---- changing

    def grow(self, name: str, size: int) -> None:
        with self.open(name) as image:
            if image.size() < size:
                image.resize(size)

    def replace(self, name: str, by: str) -> None:
        """`name` becomes what `by` is, which is no more. Nothing, when there is no `by`: then it was done before."""
        with self.turn(name):
            if self.size(by) is None:  # asked in the turn: whoever does the same at once must not discard what it became
                return
            before = self.discard(name)
            self.all.rename(self.pool, by, name)
        self.purge(before)  # which takes as long as it was large: the turn of others does not wait for it, nor end meanwhile

    def remove(self, name: str) -> None:
        """Into the trash with it, and out of that when nothing stands on it."""
        self.purge(self.discard(name))

    def discard(self, name: str) -> str | None:
        """Into the trash with it; its id there. One that somebody has open stays: the trash takes those, too."""
        try:
            with self.open(name, read_only=True) as image:
                id = image.id()
                if list(image.watchers_list()):
                    raise rbd.ImageBusy(f"{name} is open")
            self.all.trash_move(self.pool, name, 0)
        except rbd.ImageNotFound:
            with contextlib.suppress(rbd.ImageNotFound):
                self.all.remove(self.pool, name)  # what broke off early has a name and nothing else
            return None
        return str(id)

    def purge(self, id: str | None) -> None:
        """One in the trash, and what only it still stood on."""
        while id is not None:
            try:
                self.all.trash_get(self.pool, id)
                with rbd.Image(self.pool, image_id=id) as image:
                    parent = parent_of(image)
                    for snap in list(image.list_snaps()):
                        if snap["namespace"] == rbd.RBD_SNAP_NAMESPACE_TYPE_USER:
                            if image.is_protected_snap(snap["name"]):
                                image.unprotect_snap(snap["name"])
                            image.remove_snap(snap["name"])
                self.all.trash_remove(self.pool, id, on_progress=moved)
            except (rbd.ImageNotFound, *BACKING):
                return
            id = parent

    # ---- looking

    def size(self, name: str) -> int | None:
        try:
            with self.open(name, read_only=True) as image:
                return int(image.size())
        except rbd.ImageNotFound:
            return None

    def names(self) -> list[str]:
        return [name for name in self.all.list(self.pool) if not name.startswith(HIDDEN)]

    def room(self) -> dict[str, int]:
        """Bytes: of the pool, as a client may fill it, and free; zeros, when the cluster has no manager that counts."""
        status, out, said = self.cluster.mon_command(json.dumps({"prefix": "df", "format": "json"}), b"")
        if status:
            raise rbd.Error(said)
        for found in json.loads(out)["pools"]:
            if found["name"] == self.pool.name:
                return {"total": found["stats"]["max_avail"] + found["stats"]["stored"], "free": found["stats"]["max_avail"]}
        return {"total": 0, "free": 0}

    def give(self, name: str, path: str) -> None:
        """Into a local file, as it is at one moment, with its holes."""
        snap = HIDDEN + str(uuid.uuid4())
        with self.open(name) as image:
            image.create_snap(snap)
        try:
            with self.open(name, snapshot=snap, read_only=True) as image, open(path, "r+b", buffering=0) as file:
                size, parts = image.size(), list[tuple[int, int]]()
                os.ftruncate(file.fileno(), size)
                image.diff_iterate(
                    0, size, None, lambda at, length, there: parts.append((at, length)) if there else None, whole_object=True
                )
                for start, length in parts:
                    for at in range(start, start + length, PIECE):
                        piece = image.read(at, min(PIECE, start + length - at))
                        if piece.count(0) != len(piece):
                            os.pwrite(file.fileno(), piece, at)
                        moved(at)
        finally:
            with self.open(name) as image:
                image.remove_snap(snap)

    def sweep(self, prefixes: list[str], base: str, kept_s: float) -> None:
        """What crashes left goes, and bases that nobody has stood on for so long."""
        now = time.time()
        for name in self.all.list(self.pool):
            old_s = OLD_S if name.startswith(HIDDEN) else kept_s if name.startswith(base) else None
            if old_s is None:
                continue
            try:
                with self.open(name, read_only=True) as image:
                    unused = not list(image.watchers_list()) and not list(image.list_descendants())
                    if not unused or now - image.create_timestamp().timestamp() < old_s:
                        continue
                self.remove(name)
            except rbd.ImageNotFound:
                self.remove(name)
            except BACKING:
                continue
            moved()
        for entry in list(self.all.trash_list(self.pool)):
            if entry["name"].startswith((HIDDEN, base, *prefixes)):
                self.purge(entry["id"])
                moved()


def parent_of(image: Any) -> str | None:
    try:
        return str(image.parent_id())
    except rbd.ImageNotFound:
        return None


def pieces(fd: int, length: int) -> Iterator[int]:
    """Where the pieces of a file begin that have data."""
    at = 0
    while at < length:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # only a hole is left
            return
        at = start - start % PIECE
        yield at
        at += PIECE


def answer(images: Images, request: dict[str, Any]) -> None:
    try:
        tell(ok=getattr(images, request.pop("do"))(**request))
    except Large as error:
        tell(no="large", said=error.args[0])
    except rbd.ImageNotFound as error:
        tell(no="absent", said=str(error))
    except rbd.ImageBusy as error:
        tell(no="busy", said=str(error))
    except rbd.OSError as error:
        tell(**({"no": "full"} if error.errno in FULL else {"failed": None}), said=f"{type(error).__name__}: {error}")


FULL = {28, 122}  # ENOSPC, EDQUOT: of the cluster, or of the pool


def main() -> None:
    access = json.loads(sys.argv[1])
    seconds = str(max(1, int(access["timeout_s"])))
    conf = {
        "rados_mon_op_timeout": seconds,
        "rados_osd_op_timeout": seconds,
        "client_mount_timeout": seconds,
        "keyring": access["keyring"],
        "rbd_default_clone_format": "2",
    }
    with (
        rados.Rados(conffile=access["conf"], name=f"client.{access['user']}", conf={k: v for k, v in conf.items() if v}) as cluster,
        cluster.open_ioctx(access["pool"]) as pool,
    ):
        images = Images(cluster, pool)
        for line in sys.stdin:
            answer(images, json.loads(line))


if __name__ == "__main__":
    try:
        main()
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)  # librados waits for its threads, which may wait for a cluster that is away
