"""`python -m moln.node --home HOME`: the node process, as root, in the foreground, logging to stderr."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from moln.kernel import log
from moln.node.main import serve


def main() -> int:
    parser = argparse.ArgumentParser(prog="moln.node", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    args = parser.parse_args()
    os.umask(0o022)
    log.configure("info")
    asyncio.run(serve(args.home.absolute()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
