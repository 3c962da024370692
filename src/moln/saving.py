"""The database of a home saved to a file, or a file loaded into PostgreSQL: a process of its own, as the user that may.

`python -m moln.saving HOME save FILE`, `python -m moln.saving HOME load FILE URL`, `python -m moln.saving HOME check FILE`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from moln.app import load_settings
from moln.kernel import files
from moln.kernel.controllers.heritage import HOSTS
from moln.kernel.db import saving
from moln.kernel.db.postgres_hosts import Hosts
from moln.kernel.errors import Failure


def main(home: Path, doing: str, file: Path, url: str = "") -> int:
    try:
        with files.private():
            run(home, doing, file, url)
    except (Failure, OSError) as failure:
        print(failure.message if isinstance(failure, Failure) else failure, file=sys.stderr)
        return 1
    return 0


def run(home: Path, doing: str, file: Path, url: str) -> None:
    """Raises: Failure, OSError."""
    if doing == "load":
        asyncio.run(saving.load_postgres(file, url))
    elif doing == "check":
        saving.check_file(file)
        saving.raise_fences(file)
    elif at := load_settings(home).database_url:
        asyncio.run(saving.save_postgres(Hosts(at, home / HOSTS), file))
    elif (home / "cloud.db").exists():
        saving.save_sqlite(home / "cloud.db", file)
    else:
        raise Failure(f"There is no cloud in {home}.")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), *sys.argv[4:5]))
