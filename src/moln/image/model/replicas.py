"""Which controllers keep the files of an image, where each has a folder of its own (docs/adr/0050-image-replicas.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from msgspec import Struct

COPIES = 3  # folders that keep an image's files, where there are as many: any two may be lost


class Keeper(Struct, frozen=True):
    """A controller. url: where its APIs are. folder: the id of the images' folder that it sees; several may see the same."""

    name: str
    url: str
    folder: str


def keeps(folder: str, data_id: str, folders: Collection[str], holding: Collection[str]) -> bool:
    """Whether a folder is one of those that shall have the data. folders: of all controllers; holding: those that have it.

    Every controller comes to the same answer: the missing ones are chosen by a hash, and one more that joins takes nobody's place.
    """
    if folder in holding:
        return True
    others = set(folders) - set(holding)
    wanted = COPIES - (len(set(folders)) - len(others))
    return folder in sorted(others, key=lambda one: hashlib.sha256(f"{one} {data_id}".encode()).digest())[: max(0, wanted)]
