"""A driver's consoles as streams that a node serves."""

from __future__ import annotations

from collections.abc import Callable

from moln.compute.drivers.base import ConsoleKind, Consoles
from moln.kernel.link import Fences, Streams

VERB = "compute.open_console"


def streams_of(driver: Consoles, fences: Fences, now_us: Callable[[], int]) -> Streams:
    """What compute opens on a node."""
    return Streams({VERB: (driver.open_console, tuple[str, ConsoleKind])}, fences, now_us)
