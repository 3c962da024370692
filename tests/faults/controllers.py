"""A controller of several on one PostgreSQL, in a process of its own: `python -m tests.faults.controllers HOME URL PORT`.

PORT `doctor`: print a JSON list of what is wrong with rows and counters instead; nodes and engine are not this process's own.

Everything but the network engine is as it is in earnest: nodes connect to its socket, the APIs answer on its port.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
from pathlib import Path

from moln.app import compose, load_settings
from moln.controller import bind, serve
from moln.kernel import log
from moln.kernel.link import SocketLinks
from moln.simulation import simulated_links

PR_SET_PDEATHSIG = 1


async def doctor(home: Path, url: str) -> list[str]:
    app = compose(home, load_settings(home, simulate=True, database_url=url, audit_mib=0), simulated_links)
    await app.set_up()
    found = []
    for area in app.areas:
        if area.name in ("placement", "network", "identity"):
            rows = [i for i in area.invariants if not i.name.startswith("network: the engine")]
            found += [f"{i.name}: {v.message}" for i in rows for v in await i.check(app.cloud)]
    await app.stop()
    return found


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
    if sys.argv[3] == "doctor":
        print(json.dumps(asyncio.run(doctor(Path(sys.argv[1]), sys.argv[2]))))
    else:
        main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
