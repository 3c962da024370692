"""Who imports whom, as .importlinter says; and tables are named in stores only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/moln"
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"


def test_imports_go_downwards() -> None:
    """In a process of its own: import-linter configures logging, and with that silences loggers that exist."""
    done = subprocess.run([sys.executable, "-c", LINT], cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout.partition("Broken contracts")[2] + done.stderr


def test_only_stores_and_the_kernel_declare_tables() -> None:
    found = []
    for path in SOURCE.rglob("*.py"):
        inside = path.relative_to(SOURCE).parts
        if "store" in inside or inside[0] == "kernel":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in ("moln.kernel.db", "moln.kernel.db.schema"):
                found += [f"{path}:{node.lineno} {a.name}" for a in node.names if a.name in ("table", "column", "metadata")]
    assert not found
