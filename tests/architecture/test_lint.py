"""The code is as ruff and mypy want it: all of it for ruff; the kernel and every area's model strictly typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODELS = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "src/moln").glob("*/model"))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)


def test_ruff_finds_nothing() -> None:
    done = run("ruff", "check", "--no-cache", "--output-format", "concise", "src", "tests")
    assert done.returncode == 0, done.stdout


def test_the_kernel_and_the_models_are_strictly_typed() -> None:
    done = run("mypy", "--strict", "src/moln/kernel", *MODELS)
    assert done.returncode == 0, done.stdout
