"""Databases are read and written by a process of the user that the controller runs as: PostgreSQL may know only that one."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from moln.host.places import PACKAGE_ROOT, USER, Places
from moln.host.run import SYSTEM_PATH, HostError


def user(places: Places, *, simulate: bool) -> str | None:
    """Whom the controller runs as; None: whoever asks."""
    if os.geteuid() != 0 or simulate:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(USER).pw_name
    return None


@contextlib.contextmanager
def scratch(places: Places, owner: str | None) -> Iterator[Path]:
    """A folder in the home for as long as this lasts."""
    folder = Path(tempfile.mkdtemp(prefix=".saved-", dir=places.home))
    try:
        if owner:
            shutil.chown(folder, owner, owner)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def process(places: Places, owner: str | None, *args: str) -> None:
    """`python -m moln.saving HOME …`. Raises: HostError, with what it says."""
    command = [sys.executable, "-P", "-m", "moln.saving", str(places.home), *args]
    done = subprocess.run(
        command, user=owner, group=owner, extra_groups=[] if owner else None, capture_output=True, text=True, check=False,
        env={"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", "PYTHONPATH": str(PACKAGE_ROOT), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(places.home)},
    )  # fmt: skip
    if done.returncode:
        raise HostError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"moln.saving ended with {done.returncode}")
