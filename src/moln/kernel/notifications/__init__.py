"""What the cloud tells the world of its changes, by OpenStack's event names: written with each change, carried to JetStream by one controller.

Imported where it is wanted; only the tables are every cloud's.
"""

from __future__ import annotations

from pathlib import Path

MARK = "nats/notifications"  # in the home of each controller: it is the whole cloud's choice, which whoever joins takes over


def wanted(home: Path) -> bool:
    return (home / MARK).exists()
