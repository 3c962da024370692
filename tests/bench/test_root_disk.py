"""What `moln bench --images` does with root disks. Whether they are fast is for the bench to say."""

from __future__ import annotations

from pathlib import Path

from moln.bench import root_disk


def test_disks_begin_as_the_whole_image_and_are_gone_afterwards(tmp_path: Path) -> None:
    size = (5 << 20) + 4096
    made = root_disk.disks(tmp_path, size)
    assert next(made) > 0
    (image,) = (tmp_path / "images/base").iterdir()
    (disk,) = (tmp_path / "disks").iterdir()
    assert image.stat().st_size == size and disk.stat().st_size == root_disk.FLAVOR_GIB << 30
    with disk.open("rb") as file:
        assert file.read(size) == image.read_bytes() and not file.read(4096).strip(b"\0")
    assert len(list(made)) == root_disk.TIMES - 1
    assert list((tmp_path / "disks").iterdir()) == []
