"""A controller takes anew what controllers have in common (kernel/controllers/heritage.py), from another one.

python -m moln.host.taking --home DIR --name NAME --url URL, the token on its standard input: run as the user that the controller runs as. The folders
are that user's, so root writes nothing there: a link in the place of one would lead it elsewhere.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from moln.host.places import PACKAGE_ROOT, USER, Places
from moln.host.run import run


def take(places: Places, *, name: str, url: str, token: str) -> None:
    """Raises: HostError."""
    run("setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", sys.executable, "-P", "-m", "moln.host.taking", "--home", places.home, "--name", name,
        "--url", url, input=token, env={"PYTHONPATH": str(PACKAGE_ROOT), "PYTHONDONTWRITEBYTECODE": "1"})  # fmt: skip


def main() -> int:
    from moln.kernel.controllers import joining
    from moln.kernel.errors import Failure

    parser = argparse.ArgumentParser(prog="python -m moln.host.taking")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--url", required=True)
    args = parser.parse_args()
    os.umask(0o077)
    try:
        joining.join(args.url, sys.stdin.read(), args.home, name=args.name, own_url=args.url, again=True)
    except Failure as failure:
        print(failure.message, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
