"""`python -m moln.node --home HOME`: the node process, as root, in the foreground, logging to stderr."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from moln.kernel import log
from moln.kernel.errors import Failure


def main() -> int:
    parser = argparse.ArgumentParser(prog="moln.node", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--simulate", action="store_true", help="with fake drivers, as a node that joined a cloud")
    args = parser.parse_args()
    os.umask(0o022)
    log.configure("info")
    try:
        if args.simulate:  # without libvirt's binding, too
            from moln.node.simulated import serve
        else:
            from moln.node.main import serve
        asyncio.run(serve(args.home.absolute()))
    except Failure as failure:
        print(f"moln.node: {failure.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
