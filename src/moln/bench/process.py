"""A measured process: started, asked how much processor time it took, ended."""

from __future__ import annotations

import contextlib
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

READY_S = 120.0
PROCESSORS = frozenset(os.sched_getaffinity(0))


class Measured:
    """A child process and the clock of its processor time (all its threads)."""

    def __init__(self, process: subprocess.Popen[str], port: int):
        self.pid = process.pid
        self.port = port
        self._clock = (~process.pid << 3) | 2  # clock_getcpuclockid(3)

    def cpu_s(self) -> float:
        """Seconds of processor time since it began."""
        return time.clock_gettime(self._clock)

    def pss_mib(self) -> float:
        """Proportional set size, MiB: its own pages, and its share of those it shares."""
        return pss_of(self.pid)


def pss_of(pid: int) -> float:
    """Proportional set size of a process, MiB; 0 of one that has ended."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    raise OSError("this kernel tells no Pss")


def cpu_of(pid: int, *, ended: bool = False) -> float:
    """Seconds of processor time of a process; ended: and of those of its children that it has waited for. 0 of one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11:15 if ended else 13])) / os.sysconf("SC_CLK_TCK")


_kept: list[contextlib.ExitStack] = []


def lasting_port(*beside: int) -> int:
    """A port that stays ours while nobody listens there, until this process ends; those `beside` it as well.

    No connection is given one of those by itself. Who asks the same way, here or in another process, gets another one, as each is bound
    before it is ours; whoever is to listen there may nevertheless, with SO_REUSEADDR (socket(7)), as all servers do.
    """
    luck = random.SystemRandom()
    while True:
        port = luck.randrange(20_000, 32_000)
        with contextlib.ExitStack() as found, contextlib.suppress(OSError):
            bound = [found.enter_context(socket.socket()) for _ in (0, *beside)]
            for held, each in zip(bound, (port, *(port + n for n in beside)), strict=True):
                held.bind(("127.0.0.1", each))
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _kept.append(found.pop_all())
            return port


@contextmanager
def folder(prefix: str) -> Iterator[Path]:
    """Where what is measured lives. It goes at the end, but stays when a process did not begin: its log is in there."""
    found = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield found
    except RuntimeError:
        raise
    except BaseException:
        shutil.rmtree(found)
        raise
    shutil.rmtree(found)


@contextmanager
def apart() -> Iterator[None]:
    """This process keeps to one processor, and what it measures meanwhile to the others. Nothing, where there is only one.

    Whether they share one is chance otherwise, and waking who asks costs who answers more on another: 6 µs of a bare answer's 28.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def measured(what: str, *arguments: str, log: Path) -> Iterator[Measured]:
    """A process of moln.bench.serving, ready. Raises: RuntimeError, when it does not begin; `log` says why."""
    port = lasting_port()
    command = [sys.executable, "-m", "moln.bench.serving", what, "--port", str(port), *arguments]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with log.open("ab") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=env)
    if others := PROCESSORS - os.sched_getaffinity(0):
        os.sched_setaffinity(process.pid, others)
    try:
        assert process.stdout
        ready, _, _ = select.select([process.stdout], [], [], READY_S)
        if not ready or process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{what} does not begin; see {log}")
        yield Measured(process, port)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
