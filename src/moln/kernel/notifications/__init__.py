"""What the cloud tells the world of its changes, by OpenStack's event names: written with each change, carried to JetStream by one controller.

Imported where it is wanted; only the tables are every cloud's.
"""

from __future__ import annotations

from pathlib import Path

MARK = "nats/notifications"  # in the home of each controller: it is the whole cloud's choice, which whoever joins takes over; with where controllers were
SERVERS = 3  # that keep them, where each controller has one: more than half have to be there, and one may go


def wanted(home: Path) -> bool:
    return (home / MARK).exists()


def addresses(home: Path) -> list[str]:
    """Of controllers with servers of NATS, as notifications began: JetStream starts in a cluster only where others are named."""
    try:
        return (home / MARK).read_text().split()
    except FileNotFoundError:
        return []
