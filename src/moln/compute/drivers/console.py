"""The end of a serial console's log. virtlogd bounds the log and keeps older parts as `.0`, `.1`…"""

from __future__ import annotations

import os
from pathlib import Path

MOST_BYTES = 256 << 10


def tail(path: Path, lines: int | None) -> str:
    """The last `lines` of a log and its older part, at most MOST_BYTES; "" when there is none yet. Blocks."""
    data = _end(path)
    if len(data) < MOST_BYTES:
        older = _end(path.with_name(path.name + ".0"))
        data = (older + data)[-MOST_BYTES:]
    text = data.decode("utf-8", "replace")
    if lines is None:
        return text
    if lines <= 0:
        return ""
    return "".join(text.splitlines(keepends=True)[-lines:])


def _end(path: Path) -> bytes:
    try:
        with open(path, "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - MOST_BYTES))
            return log.read(MOST_BYTES)
    except FileNotFoundError:
        return b""
