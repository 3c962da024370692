"""A controller of several on one PostgreSQL, in a process of its own: `python -m tests.faults.controllers HOME URL PORT`.

Everything but the network engine is as it is in earnest: nodes connect to its socket, the APIs answer on its port.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from pathlib import Path

from moln.app import compose, load_settings
from moln.controller import bind, serve
from moln.kernel import log
from moln.kernel.link import SocketLinks

PR_SET_PDEATHSIG = 1


def main(home: Path, url: str, port: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # it never outlives the test
    os.umask(0o077)
    (home / "run").mkdir(exist_ok=True)
    settings = load_settings(home, simulate=True, database_url=url, port=port, audit_mib=0)
    log.configure("info")
    app = compose(home, settings, lambda clock: SocketLinks(home / "run/controller.sock", clock.now_us))
    with bind("127.0.0.1", port) as listener:
        asyncio.run(serve(app, listener))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
