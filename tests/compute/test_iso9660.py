"""Config drives, read back by another implementation where there is one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moln.compute.model.iso9660 import iso_image

FILES = {
    "openstack/latest/meta_data.json": b'{"uuid": "x"}',
    "openstack/latest/user_data": b"#!/bin/sh\n" + bytes(range(256)) * 300,
    "openstack/content/0000": b"",
    **{f"openstack/many/a-file-with-a-rather-long-name-{i:03}": str(i).encode() for i in range(80)},
}


def test_isoinfo_reads_every_file_back(tmp_path: Path) -> None:
    if shutil.which("isoinfo") is None:
        pytest.skip("isoinfo is not installed")
    image = tmp_path / "drive.iso"
    image.write_bytes(iso_image(FILES, "config-2"))
    for path, content in FILES.items():
        done = subprocess.run(["isoinfo", "-J", "-x", f"/{path};1", "-i", str(image)], capture_output=True, check=True, timeout=20)
        assert done.stdout == content, path
    described = subprocess.run(["isoinfo", "-d", "-i", str(image)], capture_output=True, check=True, timeout=20).stdout
    assert b"Volume id: config-2" in described
    assert b"Joliet with UCS level 3" in described


def test_the_same_files_make_the_same_image() -> None:
    assert iso_image(FILES, "config-2") == iso_image(dict(reversed(FILES.items())), "config-2")


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", "", "a/", "x" * 65, "a\nb"])
def test_a_path_that_leaves_the_medium_is_refused(path: str) -> None:
    with pytest.raises(ValueError):
        iso_image({path: b""}, "config-2")


def test_a_name_is_a_file_or_a_folder() -> None:
    with pytest.raises(ValueError):
        iso_image({"a": b"", "a/b": b""}, "config-2")


NAMES = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=20)


@given(st.dictionaries(NAMES, st.binary(max_size=5000), max_size=40))
def test_any_content_is_somewhere_in_the_image(files: dict[str, bytes]) -> None:
    image = iso_image(files, "config-2")
    assert len(image) % 2048 == 0
    assert all(content in image for content in files.values())
