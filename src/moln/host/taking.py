"""A controller takes anew what controllers have in common (kernel/controllers/heritage.py), from another one.

python -m moln.host.taking --home DIR --name NAME --url URL, the token on its standard input: run as the user that the controller runs as. The folders
are that user's, so root writes nothing there: a link in the place of one would lead it elsewhere.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from moln.host.places import Places
from moln.host.users import run_module


def take(places: Places, *, name: str, url: str, token: str) -> None:
    """Raises: HostError."""
    run_module("moln.host.taking", "--home", places.home, "--name", name, "--url", url, input=token)


def main() -> None:
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
        sys.exit(failure.message)


if __name__ == "__main__":
    main()
