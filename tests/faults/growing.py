"""A simulated cloud's controller that is killed at one step of `moln grow`: `python -m tests.faults.growing HOME PORT [STEP]`."""

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
from moln.simulation import simulated_links

PR_SET_PDEATHSIG = 1


def main(home: Path, port: int, at: str) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # it never outlives the test
    os.umask(0o077)
    (home / "run").mkdir(exist_ok=True)
    log.configure("info")
    app = compose(home, load_settings(home, simulate=True, port=port, audit_mib=0), simulated_links)

    def hook(kind: str, step: str) -> None:
        if step == at:
            os.kill(os.getpid(), signal.SIGKILL)

    with bind("127.0.0.1", port) as listener:
        asyncio.run(serve(app, listener, nodes=1, hook=hook))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "")
