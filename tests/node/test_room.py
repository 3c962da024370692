"""Which images a node keeps, and which go first when there is little room."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from moln.kernel import files
from moln.node.room import FREE, KEPT_S, SHARE, Room

IDS = [f"{letter * 8}-0000-4000-8000-000000000001" for letter in "abcde"]
DISK = "dddddddd-0000-4000-8000-000000000009"
PIECE = 1 << 16


class Space:
    """A file system of so many bytes, of which so many are free besides what images have."""

    def __init__(self, total: int, others: int = 0) -> None:
        self.total, self.others = total, others

    def __call__(self, folder: Path) -> tuple[int, int]:
        return self.total, self.total - self.others - sum(file.stat().st_blocks * 512 for file in folder.iterdir())


@pytest.fixture
def room(tmp_path: Path) -> Room:
    """Four images of a piece each, the first used longest ago; there is room for all."""
    made = Room(tmp_path / "images", Space(1 << 30))
    made.prepare()
    for folder in made.disks:
        folder.mkdir()
    now = time.time()
    for n, name in enumerate(IDS[:4]):
        path = made.folder / name
        path.write_bytes(b"x" * PIECE)
        os.utime(path, (now, now - 1000 + n))
    return made


def here(room: Room) -> list[str]:
    return sorted(file.name for file in room.folder.iterdir())


def test_while_there_is_room_everything_stays(room: Room) -> None:
    assert room.make() == [] and here(room) == IDS[:4]


def test_the_longest_unused_goes_first_and_no_more_than_must(room: Room) -> None:
    room.space = Space(int(2 * PIECE / SHARE))
    assert room.make() == IDS[:2] and here(room) == IDS[2:4]
    assert room.make() == []
    os.utime(room.folder / IDS[2])
    assert room.make(coming=PIECE) == [IDS[3]], "and what was just used is the last to go"


def test_what_is_to_be_left_free_is_free_also_when_others_fill_the_disk(room: Room) -> None:
    total = 1 << 30
    room.space = Space(total, int(total * (1 - FREE)) - 3 * PIECE)
    assert room.make() == [IDS[0]]


def test_what_a_disk_or_a_volume_that_is_here_began_as_stays(room: Room) -> None:
    room.space = Space(1)
    for folder, name in zip(room.disks, IDS, strict=False):
        (folder / f"of-{name}").write_bytes(b"")
        room.note(name, f"of-{name}")
    room.note(IDS[2], "a-disk-that-is-gone")
    assert room.make() == IDS[2:4]
    assert sorted(note.name for note in room.began.iterdir()) == [f"of-{name}" for name in IDS[:2]]
    (room.disks[0] / f"of-{IDS[0]}").unlink()
    room.note(IDS[2], f"of-{IDS[1]}")  # reimaged
    assert room.make() == IDS[:2] and list(here(room)) == []


def test_what_is_in_use_just_now_stays(room: Room) -> None:
    room.space = Space(1)
    with room.using(IDS[0]), room.using(IDS[0]):
        assert room.make() == IDS[1:4]
    with room.using(IDS[0]):
        assert room.make() == []
    assert room.make() == IDS[:1]


def test_what_nobody_used_for_long_goes_even_if_there_is_room(room: Room) -> None:
    old = time.time() - KEPT_S - 1
    for name in IDS[:2]:
        os.utime(room.folder / name, (old, old))
    (room.disks[1] / DISK).write_bytes(b"")
    room.note(IDS[0], DISK)
    assert room.make() == [IDS[1]]


def test_what_a_crash_left_is_swept_and_never_counted(room: Room) -> None:
    (room.folder / f"{files.TEMP_PREFIX}x").write_bytes(b"x")
    (room.disks[0] / DISK).write_bytes(b"")
    (room.began / DISK).write_bytes(IDS[0][:7].encode())  # a note that was half written
    assert [image.name for image in room.kept()] == IDS[:4] and not room.used() & set(IDS)
    room.prepare()
    assert here(room) == IDS[:4]


def test_notes_lead_nowhere_else(room: Room, tmp_path: Path) -> None:
    """The folder of images belongs to a user less trusted than who writes there."""
    (tmp_path / "secret").write_text(IDS[0])
    (room.disks[0] / DISK).write_bytes(b"")
    (room.began / DISK).symlink_to(tmp_path / "secret")
    assert room.used() == set()
    with pytest.raises(OSError, match="symbolic"):
        room.note(IDS[1], DISK)
    assert (tmp_path / "secret").read_text() == IDS[0]


def test_nothing_is_taken_from_under_who_begins_to_use_it(room: Room) -> None:
    """Whoever holds one sees it, or sees that it is gone: never first the one and then the other."""
    room.space = Space(1)
    ended, wrong = threading.Event(), []

    def use() -> None:
        while not ended.is_set():
            with room.using(IDS[0]):
                before = (room.folder / IDS[0]).exists()
                if before != (room.folder / IDS[0]).exists():
                    wrong.append(before)

    user = threading.Thread(target=use)
    user.start()
    for _ in range(200):
        (room.folder / IDS[0]).write_bytes(b"x") if not (room.folder / IDS[0]).exists() else None
        room.drop(IDS[0])
    ended.set()
    user.join()
    assert True not in wrong
