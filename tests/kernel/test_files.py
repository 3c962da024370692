"""Copies of files, also where the kernel does not make them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from moln.kernel import files

SHARED = Path("/dev/shm")  # tmpfs on any Linux, for everybody
MIB = 1 << 20


def test_a_copy_to_another_kind_of_file_system_is_whole_and_keeps_its_holes(tmp_path: Path) -> None:
    if not os.access(SHARED, os.W_OK) or SHARED.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system only")
    data = os.urandom(files.PIECE + 5000)
    path = tmp_path / "source"
    with path.open("wb") as source:
        source.write(data)
        source.seek(64 * MIB)
        source.write(data[:7])
    with path.open("rb") as source, tempfile.TemporaryFile(dir=SHARED) as target:
        assert files.clone(source.fileno(), target.fileno()) is False
        assert os.fstat(target.fileno()).st_size == 64 * MIB + 7
        assert os.fstat(target.fileno()).st_blocks * 512 < 2 * files.PIECE
        assert target.read() == path.read_bytes()
