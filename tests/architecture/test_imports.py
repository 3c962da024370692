"""Who imports whom, as .importlinter says; and tables are named in stores only."""

from __future__ import annotations

import ast
import logging
from pathlib import Path

from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/moln"


def test_imports_go_downwards(capsys) -> None:
    status = lint_imports(config_filename=str(ROOT / ".importlinter"), no_cache=True)
    for logger in logging.root.manager.loggerDict.values():  # it configures logging, which silences every logger there is
        if isinstance(logger, logging.Logger):
            logger.disabled = False
    assert status == 0, capsys.readouterr().out.partition("Broken contracts")[2]


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
