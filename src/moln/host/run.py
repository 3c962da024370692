"""Running other programs: always with a deadline, never through a shell, and with what they said in the error."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class HostError(Exception):
    """The machine is not as it should be. The message says what to do about it."""


def run(
    *argv: str | Path, timeout_s: float = 60, env: Mapping[str, str] | None = None, log: Path | None = None,
    input: str | None = None,
) -> str:
    """What the program printed. log: its output goes there instead. Raises: HostError, with its last words."""
    command: Sequence[str] = [str(a) for a in argv]
    environment = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", **(env or {})}
    for name in ("http_proxy", "https_proxy", "no_proxy", "HOME"):
        if name in os.environ:
            environment.setdefault(name, os.environ[name])
    try:
        if log is None:
            done = subprocess.run(command, input=input, capture_output=True, text=True, timeout=timeout_s,
                                  env=environment, check=False)
            output, errors = done.stdout, done.stderr
        else:
            with log.open("a+") as out:
                start = out.tell()
                done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                      timeout=timeout_s, env=environment, check=False, text=True)
                out.seek(start)
                output, errors = "", out.read()
    except FileNotFoundError as error:
        raise HostError(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise HostError(f"{' '.join(command)} did not end within {timeout_s:g} s") from error
    if done.returncode:
        last = "\n".join((errors or output).strip().splitlines()[-8:])
        raise HostError(f"{' '.join(command)} failed ({done.returncode}): {last}")
    return output


def succeeds(*argv: str | Path, timeout_s: float = 60) -> bool:
    """Whether the program ends with 0."""
    try:
        run(*argv, timeout_s=timeout_s)
    except HostError:
        return False
    return True
