"""A driver's consoles as streams that a node serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moln.compute.drivers.base import ConsoleKind, Consoles
from moln.kernel.link import Fences, Streams
from moln.kernel.link.streams import Opener

VERB = "compute.open_console"


def streams_of(driver: Consoles, fences: Fences, now_us: Callable[[], int], more: dict[str, tuple[Opener, Any]] | None = None) -> Streams:
    """What compute opens on a node. more: verbs that this node has besides."""
    return Streams({VERB: (driver.open_console, tuple[str, ConsoleKind]), **(more or {})}, fences, now_us)
