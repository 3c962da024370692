"""What set-up made outside the home. Written before the thing is made, so that a crash between loses nothing."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator

import msgspec

from moln.host.places import SHARED, Places

FILE = "made.json"


class Made(msgspec.Struct, kw_only=True):
    """For one cloud.

    ip_forward: what it was before we set it; None: not ours. mounts: directories that we mount. links: network
    devices outside OVS. nft: whether our table exists. blackholes: ranges below which we laid a blackhole route.
    datapath: OVS's, chosen at the first start and kept. tunnels: whether their table exists. chrony: a file of
    its configuration that is ours. quiet: cards that take no IPv6 address
    since, by what they did before.
    """

    mounts: list[str] = []
    links: list[str] = []
    ip_forward: int | None = None
    nft: bool = False
    datapath: str = ""
    blackholes: list[str] = []
    tunnels: bool = False
    chrony: str = ""
    quiet: dict[str, str] = {}


class Shared(msgspec.Struct, kw_only=True):
    """For all clouds of this machine; the last one to go removes it. homes: of those clouds. users: created by us."""

    homes: list[str] = []
    users: list[str] = []


def read(places: Places) -> Made:
    try:
        return msgspec.json.decode(places.made.read_bytes(), type=Made)
    except FileNotFoundError:
        return Made()


def write(places: Places, made: Made) -> None:
    """Where nothing was ever made nothing is written: a home that is gone is not asked for its record again."""
    if made == read(places):
        return
    new = places.made.with_suffix(".new")
    new.write_bytes(msgspec.json.format(msgspec.json.encode(made)) + b"\n")
    new.replace(places.made)


@contextlib.contextmanager
def shared() -> Iterator[Shared]:
    """The machine's record, under a lock; what the block leaves in it is stored."""
    SHARED.mkdir(mode=0o755, exist_ok=True)
    with (SHARED / FILE).open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        before = file.read()
        record = msgspec.json.decode(before, type=Shared) if before else Shared()
        try:
            yield record
        finally:
            after = msgspec.json.format(msgspec.json.encode(record)) + b"\n"
            if after != before:
                file.truncate(0)
                file.write(after)


def forget_shared() -> None:
    (SHARED / FILE).unlink(missing_ok=True)
