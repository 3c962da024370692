"""A pool of Ceph's RBD as a node asks it: through processes of the system's Python (child.py), some of which stay for the next request.

librbd is in no package of PyPI, starts threads of its own, and waits for a cluster that is away: a process that does not move is killed.
All of it blocks.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct, to_builtins

from moln.kernel.errors import BackendRefused, BackendUnreachable, Invalid
from moln.kernel.files import known

GIB = 1 << 30
CHILD = Path(__file__).with_name("child.py")
PYTHON = "/usr/bin/python3"
AT_ONCE = 8  # processes, some 40 MiB each; some may copy for long
KEPT = 2  # of them, when nobody asks
LEAVE_S = 10.0  # that a process may take to give up by itself, and say why
LOOK_S = 0.5  # between two looks at `stop`
LINE = 64 << 20  # bytes of an answer
SAID = 2000  # bytes of a complaint that the log gets


class Absent(BackendRefused):
    """What was to be used is not in the pool."""


class Access(Struct, frozen=True):
    """conf: ceph.conf, with a fsid; user: without `client.`; keyring: a file with its key, which root alone reads; timeout_s: how long nothing may move."""

    conf: str
    user: str
    keyring: str
    pool: str
    timeout_s: float = 30.0

    @property
    def fsid(self) -> str:
        """The cluster's. Raises: Invalid."""
        try:
            found = re.search(r"^\s*fsid\s*=\s*([0-9a-fA-F-]{36})\s*$", Path(self.conf).read_text("utf-8"), re.MULTILINE)
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid(f"{self.conf} cannot be read: {error}", field="node.disks") from None
        if not found:
            raise Invalid(f"{self.conf} does not say the cluster's fsid.", field="node.disks")
        return found[1].lower()

    @property
    def key(self) -> str:
        """The user's, in base64. Raises: Invalid, also when others than the file's owner may read it."""
        try:
            text = Path(self.keyring).read_text("utf-8")
            mode = os.stat(self.keyring).st_mode
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid(f"{self.keyring} cannot be read: {error}", field="node.disks") from None
        if mode & 0o077:
            raise Invalid(f"{self.keyring} can be read by others than its owner: chmod 600 it.", field="node.disks")
        section = re.search(rf"^\[client\.{re.escape(self.user)}\]$(.*?)(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL)
        found = re.search(r"^\s*key\s*=\s*([A-Za-z0-9+/]+=*)\s*$", section[1], re.MULTILINE) if section else None
        if not found:
            raise Invalid(f"{self.keyring} has no key of client.{self.user}.", field="node.disks")
        return found[1]

    def check(self) -> None:
        """Both files say what they must. Raises: Invalid."""
        _ = self.fsid, self.key

    @property
    def name(self) -> str:
        """Of the storage, the same on each node that reaches it."""
        return f"rbd:{self.fsid}/{self.pool}"


class RbdPool:
    """python: the interpreter that has rados and rbd. stopping: set to end whatever is under way."""

    def __init__(self, access: Access, *, python: str = PYTHON) -> None:
        self.access = access
        self.python = python
        self.stopping = False
        self.turns = threading.BoundedSemaphore(AT_ONCE)
        self.guard = threading.Lock()
        self.bringing = threading.Lock()  # one base at a time, so that none is brought twice
        self.idle: list[_Child] = []

    def ask(self, do: str, **args: Any) -> Any:
        """What child.py's verb of this name says. Raises: BackendRefused, BackendUnreachable."""
        if not self.turns.acquire(timeout=self.access.timeout_s):
            raise BackendUnreachable("Ceph is busy.", detail="too many requests of this host")
        child, well = None, False
        try:
            with self.guard:
                child = self.idle.pop() if self.idle else None
            child = child or _Child(self.python, self.access)
            answer = child.ask({"do": do, **args}, lambda: self.stopping)
            well = "failed" not in answer
        except OSError as error:
            raise BackendUnreachable("Ceph cannot be asked.", detail=str(error)) from error
        finally:
            if child is not None:
                self.give_back(child, well)
            self.turns.release()
        return result(answer)

    def give_back(self, child: _Child, well: bool) -> None:
        """One that failed is not asked again: the next one looks for the cluster anew."""
        with self.guard:
            if well and not self.stopping and len(self.idle) < KEPT:
                self.idle.append(child)
                return
        child.end()

    def stop(self) -> None:
        self.stopping = True
        with self.guard:
            idle, self.idle = self.idle, []
        for child in idle:
            child.end()


def result(answer: dict[str, Any]) -> Any:
    """Raises: BackendRefused, BackendUnreachable."""
    said = answer.get("said")
    match answer.get("no"):
        case None if "ok" in answer:
            return answer["ok"]
        case "absent":
            raise Absent("The pool has no such disk, volume, snapshot or image.", detail=str(said))
        case "large":
            raise BackendRefused(f"The source has {-(-int(said or 0) // GIB)} GiB and does not fit.")
        case "full":
            raise BackendRefused("The pool is full.", detail=str(said))
        case "busy":
            raise BackendUnreachable("The disk is still in use.", detail=str(said))
    raise BackendUnreachable("Ceph failed.", detail=str(said))


class _Child:
    """A process that has answered, or is about to."""

    def __init__(self, python: str, access: Access) -> None:
        self.patience_s = access.timeout_s + LEAVE_S
        self.process = subprocess.Popen(
            [python, "-I", str(CHILD), json.dumps(to_builtins(access))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"},  # librbd's times are UTC and do not say so
        )  # fmt: skip
        self.rest, self.said = b"", ""

    def ask(self, request: dict[str, Any], stop: Callable[[], bool]) -> dict[str, Any]:
        """Its answer, however long it takes, as long as something moves. Raises: BackendUnreachable; OSError."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        while True:
            answer: dict[str, Any] = json.loads(self.line(stop))
            if "at" not in answer:
                return answer

    def line(self, stop: Callable[[], bool]) -> bytes:
        """The next of its answer; what it complains of meanwhile is kept for the log."""
        assert self.process.stdout and self.process.stderr
        end = time.monotonic() + self.patience_s
        while b"\n" not in self.rest:
            if stop():
                raise BackendUnreachable("The host is stopping.")
            if time.monotonic() > end or len(self.rest) > LINE:
                raise BackendUnreachable("Ceph does not answer.", detail=self.said or "the process said nothing")
            for pipe in select.select([self.process.stderr, self.process.stdout], [], [], LOOK_S)[0]:
                got = os.read(pipe.fileno(), 1 << 16)
                if pipe is self.process.stderr and got:
                    self.said = (self.said + got.decode(errors="replace"))[-SAID:]
                elif pipe is self.process.stdout:
                    self.rest += got
                    if not got:
                        raise BackendUnreachable("Ceph cannot be asked.", detail=self.said.strip())
        line, self.rest = self.rest.split(b"\n", 1)
        return line

    def end(self) -> None:
        self.process.kill()
        self.process.wait(LEAVE_S)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe:
                with contextlib.suppress(OSError):  # it had ended before it read what was said to it
                    pipe.close()


def name_of(kind: str, id: str) -> str:
    """An image's name. Raises: BackendRefused."""
    return f"{kind}-{known(id)}"
