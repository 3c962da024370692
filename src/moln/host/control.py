"""Talking to the supervisor: start it, watch it, stop it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

from moln.host import unit
from moln.host.places import PACKAGE_ROOT, Places
from moln.host.run import SYSTEM_PATH, HostError
from moln.host.supervise.guardian import command
from moln.host.supervise.plan import Plan

NO_SUPERVISOR_S = 15.0

State = dict[str, Any]
"""{"engines": [{"name", "state", "pid", "starts", "reason"}], "stopping": bool}"""


class NotRunning(Exception):
    """No supervisor answers in this home."""


def ask(places: Places, timeout_s: float = 10, **request: object) -> Iterator[State]:
    """The supervisor's answers to one request; for `watch` and `stop` they go on until it closes.

    timeout_s: for the whole conversation. Raises: NotRunning; TimeoutError.
    """
    ends = time.monotonic() + timeout_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(places.supervisor_socket))
            connection.sendall(json.dumps(request).encode() + b"\n")
        except TimeoutError:
            raise
        except OSError as error:
            raise NotRunning(f"nothing runs in {places.home}; to start it: moln up") from error
        received = b""
        while True:
            connection.settimeout(max(0.001, ends - time.monotonic()))
            try:
                data = connection.recv(1 << 16)
            except ConnectionResetError:
                return
            if not data:
                return
            *lines, received = (received + data).split(b"\n")
            for line in lines:
                yield json.loads(line)


def status(places: Places) -> State:
    """Raises: NotRunning."""
    for state in ask(places, do="status"):
        return state
    raise NotRunning(f"the supervisor in {places.home} went away")


def write_plan(places: Places, plan: Plan) -> bool:
    """Returns whether the plan differs from the one that was there; an equal one is not written again."""
    text = plan.text()
    if places.plan.exists() and places.plan.read_text() == text:
        return False
    new = places.plan.with_suffix(".new")
    new.write_text(text)
    new.chmod(0o600)
    new.replace(places.plan)
    return True


def ensure_supervisor(places: Places, plan: Plan) -> bool:
    """Have the plan followed. Returns whether anything had to be started or told."""
    places.log.mkdir(exist_ok=True)
    places.supervised.mkdir(mode=0o700, parents=True, exist_ok=True)
    changed = write_plan(places, plan)
    try:
        state = status(places)
    except NotRunning:
        if unit.serves(places):
            start_unit(places)
        else:
            _start(places)
        return True
    if changed or not all_ready(state):
        next(ask(places, do="reload"))
    return changed or not all_ready(state)


def start_unit(places: Places, timeout_s: float = 120) -> None:
    """Have systemd start the supervisor, and wait for its socket. Raises: HostError."""
    unit.start()
    ends = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(NotRunning):
            status(places)
            return
        if unit.failed() or time.monotonic() > ends:
            raise HostError(f"systemd could not start {unit.NAME}; see: journalctl -u {unit.NAME}")
        time.sleep(0.1)  # the set-up comes first, and then the socket: there is nothing to wait on


def _start(places: Places) -> None:
    log = os.open(places.log / "supervisor.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        # Twice forked: the guardian must not stay a child of a command that ends.
        subprocess.run(
            ["/bin/sh", "-c", '"$@" &', "sh", *command("guard", places.supervised)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, timeout=10, check=True,
            cwd="/", env={"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", "PYTHONPATH": str(PACKAGE_ROOT)},
        )
    finally:
        os.close(log)


def wait_until(
    places: Places, good: Callable[[State], bool], *, timeout_s: float, each: Callable[[State], None] | None = None
) -> State:
    """Follow the supervisor until `good`. A supervisor that restarts meanwhile is followed again.

    Raises: TimeoutError, naming what is not ready.
    """
    ends, last = time.monotonic() + timeout_s, {"engines": []}
    answered = time.monotonic()
    while (left := ends - time.monotonic()) > 0:
        try:
            for state in ask(places, timeout_s=left, do="watch"):
                last, answered = state, time.monotonic()
                if each:
                    each(state)
                if good(state):
                    return state
        except NotRunning:
            if time.monotonic() - answered > NO_SUPERVISOR_S:
                break
            time.sleep(0.02)   # the socket appears with the process: nothing to wait on before it is there
        except TimeoutError:
            break
    missing = [f"{e['name']} ({e['state']}{': ' + e['reason'] if e['reason'] else ''})"
               for e in last["engines"] if e["state"] != "ready"]
    raise TimeoutError(f"not ready after {timeout_s:g} s: {', '.join(missing) or 'supervisor'}; see {places.log}")


def restart(places: Places, names: list[str]) -> None:
    """Have those of these engines that run here begin anew; it is not waited for. Raises: NotRunning; TimeoutError."""
    here = {engine["name"] for engine in status(places)["engines"]}
    for name in names:
        if name in here:
            for _ in ask(places, do="restart", engine=name):
                break


def all_ready(state: State) -> bool:
    return all(e["state"] == "ready" for e in state["engines"])


def stop(places: Places, *, keep: list[str], timeout_s: float = 90) -> None:
    """Stop all engines but `keep`, then the supervisor. Nothing running is fine. Raises: TimeoutError."""
    try:
        for _ in ask(places, timeout_s=timeout_s, do="stop", keep=keep):
            pass
    except NotRunning:
        return
    guardian = places.supervised / "guardian.pid"
    ends = time.monotonic() + 5
    while guardian.exists() and time.monotonic() < ends:
        time.sleep(0.02)
