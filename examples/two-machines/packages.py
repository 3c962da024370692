"""Brings what the machines of the example need, as long as there is a network: `packages.py HOME`, and `packages.py HOME leave` at the end.

Real machines have one while they become part of a cloud, and `moln controller init` and `moln node join` do the same there.
"""

from __future__ import annotations

import sys
from pathlib import Path

from moln.cli.progress import Progress
from moln.guest.build import HOST_PACKAGES
from moln.host import made, packages
from moln.host.engines import leave_shared
from moln.host.places import Places
from moln.host.setup import ensure_binding, ensure_extra, install_packages, make_directories


def bring(places: Places) -> None:
    """What machines share stays until `leave`, whatever one of them purges meanwhile. Raises: HostError."""
    row, steps = packages.here(), Progress()
    make_directories(places)
    with made.shared() as record:
        record.homes = sorted({*record.homes, str(places.home)})
    with steps("Packages, while there is a network"):
        install_packages(row, places, steps, engines=("nats", "chrony"))
        ensure_binding(places)
        ensure_extra("scale", places, steps)
        if absent := packages.missing(row, list(HOST_PACKAGES)):
            packages.install(row, absent, places.log / "setup.log")


if __name__ == "__main__":
    home = Places(Path(sys.argv[1]))
    if sys.argv[2:] == ["leave"]:
        leave_shared(home, program=False)
    else:
        bring(home)
