"""Machines of a lab that are lost for good, and `moln controller recover` on the one that is left, killed wherever a test says."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

from tests.e2e.waiting import until
from tests.host.test_two_machines import MOLN
from tests.network import machines
from tests.network.lab import run

from moln.host.places import PACKAGE_ROOT

RECOVER_S = 240


def lose(lab: machines.Homes, machine: str, number: int) -> None:
    """As power that goes and never comes back."""
    lab.cut(number, "down")
    for sent in (signal.SIGSTOP, signal.SIGKILL):  # who watches others has no time to start them anew
        for pid in run("ip", "netns", "pids", f"{lab.tag}-{machine}").split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), sent)
    until(lambda: not run("ip", "netns", "pids", f"{lab.tag}-{machine}").split(), "all of it is gone", 10)


def recover(lab: machines.Homes, machine: str, *words: str, killed_after: str = "") -> tuple[int, str]:
    """Its status and all that it said. killed_after: the title of the step after which it is killed."""
    command = ["nsenter", f"--net=/run/netns/{lab.tag}-{machine}", sys.executable, "-P", "-c", MOLN, "controller", "recover", *words, "--home", str(lab.home / machine)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"PYTHONPATH": str(PACKAGE_ROOT)})
    said = ""
    try:
        assert process.stdout is not None
        if killed_after:
            for line in process.stdout:  # its steps' own bounds are this one's
                said += line
                if line.startswith(f"✓ {killed_after} "):
                    break
            process.kill()
            assert process.wait(10) == -signal.SIGKILL, said
        said += process.communicate(timeout=RECOVER_S)[0]
    finally:
        process.kill()
        process.wait(10)
    print(said)
    return process.returncode, said
