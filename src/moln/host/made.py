"""What set-up made outside the home. Written before the thing is made, so that a crash between loses nothing."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator

import msgspec

from moln.host.places import SHARED, Places


class Made(msgspec.Struct, kw_only=True):
    """users, groups: created by us. ip_forward: what it was before we set it; None: not ours.

    mounts: directories that we mount. links: network devices outside OVS. nft: whether our table exists. prefix:
    whether this cloud uses the OVS packages under SHARED.
    """

    users: list[str] = []
    groups: list[str] = []
    mounts: list[str] = []
    links: list[str] = []
    ip_forward: int | None = None
    nft: bool = False
    blackholes: list[str] = []
    prefix: bool = False


def read(places: Places) -> Made:
    try:
        return msgspec.json.decode(places.made.read_bytes(), type=Made)
    except FileNotFoundError:
        return Made()


def write(places: Places, made: Made) -> None:
    text = msgspec.json.format(msgspec.json.encode(made)) + b"\n"
    if places.made.exists() and places.made.read_bytes() == text:
        return
    new = places.made.with_suffix(".new")
    new.write_bytes(text)
    new.replace(places.made)


@contextlib.contextmanager
def shared_homes() -> Iterator[set[str]]:
    """The homes on this machine that use SHARED, under a lock; what the block leaves in the set is stored."""
    SHARED.mkdir(mode=0o755, exist_ok=True)
    with (SHARED / "homes").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        before = set(file.read().split("\n")) - {""}
        after = set(before)
        yield after
        if after != before:
            file.truncate(0)
            file.write("".join(f"{h}\n" for h in sorted(after)))
