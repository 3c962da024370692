"""Where the libraries of the pages lie once they are built, and everything that the pages consist of."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

VERSION = "1"  # of what build.py lays down; a folder of another is not found
ABSENT = (
    "This cloud has no pages for consoles: their libraries come from npm, which was not there when the cloud was set up. "
    "Its operator installs npm and runs `moln up` again."
)
OURS = Path(__file__).parent / "static"
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8",
         ".css": "text/css; charset=utf-8"}  # fmt: skip


def places(home: Path) -> list[Path]:
    """Where the libraries may be: beside the installed package, or in the cloud's home."""
    name = f"moln-console-{VERSION}"
    return [Path(sys.prefix) / "share" / name, home / "host" / name]


def installed(home: Path) -> Path | None:
    """The libraries' folder, once they are built."""
    return next((place for place in places(home) if place.is_dir()), None)


class Pages:
    """Every file of the pages, in memory, read when one is first asked for."""

    def __init__(self, home: Path):
        self._home = home
        self._files: dict[str, tuple[str, bytes]] | None = None

    async def files(self) -> dict[str, tuple[str, bytes]] | None:
        """Media type and bytes by name; None while the libraries are not there."""
        if self._files is None:
            self._files = await asyncio.to_thread(self._read)
        return self._files

    def _read(self) -> dict[str, tuple[str, bytes]] | None:
        library = installed(self._home)
        if library is None:
            return None
        found = {}
        for top, prefix in ((library, "files/"), (OURS, "files/")):
            for path in top.rglob("*"):
                if path.suffix in TYPES and path.is_file():
                    name = path.relative_to(top).as_posix()
                    found[name if path.suffix == ".html" else prefix + name] = (TYPES[path.suffix], path.read_bytes())
        return found
