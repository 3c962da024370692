"""Runs in a process of its own, by the system's Python, where Ceph's packages put `rados` and `rbd`: one request to a pool, then it ends.

    rbd_child.py CLUSTER put NAME SIZE          the data is standard input
    rbd_child.py CLUSTER read NAME START LENGTH  the data is standard output
    rbd_child.py CLUSTER size NAME | remove NAME | names
    CLUSTER is JSON {"conf", "user", "keyring", "pool", "timeout_s"}.

It imports nothing of moln. Status 3: there is no such image; 4: the cluster failed; 5: the data was not as long as it should be.
An image is whole once it has its snapshot, which is protected: clones may stand on it.
"""

from __future__ import annotations

import json
import os
import sys

ORDER = 23  # objects of 8 MiB
PIECE = 1 << ORDER
SNAP = "snap"
ABSENT, FAILED, SHORT = 3, 4, 5


def put(rbd, pool, name: str, size: int) -> int:  # type: ignore[no-untyped-def]
    """Pieces of zeros are not written."""
    if whole(rbd, pool, name) == size:
        return 0
    remove(rbd, pool, name)
    rbd.RBD().create(pool, name, size, order=ORDER, old_format=False, features=rbd.RBD_FEATURE_LAYERING)
    at = 0
    with rbd.Image(pool, name) as image:
        while at < size:
            piece = take(min(PIECE, size - at))
            if not piece:
                break
            if piece.count(0) != len(piece):
                image.write(bytes(piece), at)
            at += len(piece)
        short = at < size or bool(os.read(0, 1))
        if not short:
            image.flush()
            image.create_snap(SNAP)
            image.protect_snap(SNAP)
    if short:
        remove(rbd, pool, name)
        return SHORT
    return 0


def take(length: int) -> bytearray:
    """The next bytes of standard input: as many, or those before its end."""
    piece = bytearray(length)
    done = 0
    with memoryview(piece) as view:
        while done < length:
            got = os.readv(0, [view[done:]])
            if not got:
                break
            done += got
    return piece[:done] if done < length else piece


def give(data: bytes) -> None:
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            done += os.write(1, view[done:])


def whole(rbd, pool, name: str) -> int:  # type: ignore[no-untyped-def]
    """Bytes; -1, when it is not there or not whole."""
    try:
        with rbd.Image(pool, name, snapshot=SNAP, read_only=True) as image:
            return int(image.size()) if image.is_protected_snap(SNAP) else -1
    except rbd.ImageNotFound:
        return -1


def read(rbd, pool, name: str, start: int, length: int) -> int:  # type: ignore[no-untyped-def]
    if whole(rbd, pool, name) < start + length:
        return ABSENT
    with rbd.Image(pool, name, snapshot=SNAP, read_only=True) as image:
        while length > 0:
            piece = image.read(start, min(PIECE >> 1, length))
            give(piece)
            start += len(piece)
            length -= len(piece)
    return 0


def remove(rbd, pool, name: str) -> int:  # type: ignore[no-untyped-def]
    try:
        with rbd.Image(pool, name) as image:
            for snap in list(image.list_snaps()):
                if image.is_protected_snap(snap["name"]):
                    image.unprotect_snap(snap["name"])
                image.remove_snap(snap["name"])
        rbd.RBD().remove(pool, name)
    except rbd.ImageNotFound:
        pass
    return 0


def main() -> int:
    cluster, verb, *args = json.loads(sys.argv[1]), *sys.argv[2:]
    try:
        import rados
        import rbd
    except ImportError as error:
        print(f"python3-rados and python3-rbd are missing: {error}", file=sys.stderr)
        return FAILED
    seconds = str(max(1, int(cluster["timeout_s"])))
    bounds = {
        "rados_mon_op_timeout": seconds,
        "rados_osd_op_timeout": seconds,
        "client_mount_timeout": seconds,
        "keyring": cluster["keyring"],
    }
    try:
        with (
            rados.Rados(
                conffile=cluster["conf"], name=f"client.{cluster['user']}", conf={name: value for name, value in bounds.items() if value}
            ) as there,
            there.open_ioctx(cluster["pool"]) as pool,
        ):
            if verb == "put":
                return put(rbd, pool, args[0], int(args[1]))
            if verb == "read":
                return read(rbd, pool, args[0], int(args[1]), int(args[2]))
            if verb == "remove":
                return remove(rbd, pool, args[0])
            if verb == "names":
                give(json.dumps(rbd.RBD().list(pool)).encode())
                return 0
            size = whole(rbd, pool, args[0])
            give(json.dumps(size).encode())
            return 0 if size >= 0 else ABSENT
    except (rados.Error, rbd.Error) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # librados waits for its threads, which may wait for a cluster that is away
