"""Each row of docs/security.md names tests that exist, or says why there is none yet; and every security test is in a row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/security.md"
ROW = re.compile(r"^\| (SEC-\d\d) \| [^|]+ \| [^|]+ \| ([^|]+) \|$", re.M)
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
NOT_NUMBERS = {5, 8, 15, 17, 22, 24, 27, 31, 38, 40}  # numbers that no case has
CASES = {f"SEC-{number:02}" for number in range(1, 47)} - {f"SEC-{number:02}" for number in NOT_NUMBERS}


def names_in(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_case_has_a_row() -> None:
    assert [case for case, _ in ROW.findall(PAGE.read_text())] == sorted(CASES)


def test_every_row_names_tests_that_exist_or_says_why_not() -> None:
    missing = []
    for case, cell in ROW.findall(PAGE.read_text()):
        named = NAMED.findall(cell)
        if cell.startswith("not yet: "):
            named = [(path, name) for path, name in named if name]
        else:
            assert named, f"{case} names a test"
        for path, name in named:
            if not (ROOT / path).is_file() or (name and name not in names_in(ROOT / path)):
                missing.append(f"{case}: {path}::{name}")
    assert missing == []


def test_every_security_test_is_in_a_row() -> None:
    named = {path for path, _ in NAMED.findall(PAGE.read_text())}
    assert [str(path) for path in sorted((ROOT / "tests/security").glob("test_*.py")) if str(path.relative_to(ROOT)) not in named] == []
