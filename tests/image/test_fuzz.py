"""The inspection of images against what has been found so far, and a little further (`python -m tests.image.fuzz` goes on)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.image import fuzz

from moln.image.drivers import sandbox_child

pytestmark = pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img")
CORPUS = fuzz.corpus()
HOSTILE = {"qcow", "qed", "qcow2-backing", "qcow2-data-file", "vmdk-flat", *(name for name in CORPUS if name.startswith("found-"))}
SMALL = 20_000  # bytes of the corpus in the repository


def test_the_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in fuzz.CORPUS.iterdir()) < SMALL


@pytest.mark.parametrize("name", sorted(set(CORPUS) - set(fuzz.PACKED)))
def test_what_began_it_all_breaks_no_rule(tmp_path: Path, name: str) -> None:
    path = tmp_path / "case"
    path.write_bytes(CORPUS[name])
    counts = Counter[str]()
    assert fuzz.problem(path, counts) is None
    assert ("accepted" in counts) == (name not in HOSTILE)


@pytest.mark.parametrize("name", fuzz.PACKED)
def test_what_is_packed_is_unpacked(tmp_path: Path, name: str) -> None:
    path = tmp_path / "case"
    path.write_bytes(CORPUS[name])
    counts = Counter[str]()
    assert fuzz.packed_problem(path, name, counts) is None and counts == {"unpacked with status 0": 1}


@pytest.mark.parametrize("name", sorted(name for name in CORPUS if name.startswith("found-")))
def test_the_search_would_find_again_what_it_found(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the check away that each of them led to."""
    monkeypatch.setattr(sandbox_child, "looks_like", lambda head: set())
    path = tmp_path / "case"
    path.write_bytes(CORPUS[name])
    assert "for QEMU it is" in (fuzz.problem(path, Counter()) or "")


def test_a_bomb_or_a_hang_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "case"
    path.write_bytes(b"x")
    monkeypatch.setitem(fuzz.LIMITS, "cpu_s", 1)

    def forever() -> dict[str, object]:
        while True:
            pass

    monkeypatch.setattr(sandbox_child, "sniff", forever)
    assert "ended with the status" in (fuzz.problem(path, Counter()) or "")


def test_the_same_seed_makes_the_same_files() -> None:
    first, second = (fuzz.Mutator(3, CORPUS) for _ in range(2))
    assert [first.make(n) for n in range(20)] == [second.make(n) for n in range(20)] != [fuzz.Mutator(4, CORPUS).make(n) for n in range(20)]


def test_two_hundred_files_break_no_rule(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.image.fuzz", "--cases", "200", "--seed", "20", "--keep", str(tmp_path / "found")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.startswith("200 files of seed 20, 0 broke a rule")
