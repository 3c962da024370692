"""Who did what: a line of JSON for each request that may change something, under CADF's names (DMTF DSP0262).

Nothing of a body or of a header is written, and of an answer only the id of what was made. `audit.log` holds what identified callers
did, and who signed in; `audit-refused.log` what was asked without proof, so that nobody unknown can push the first out of its bound.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
from pathlib import Path
from typing import Any

import msgspec

from moln.kernel.clock import Clock, Ids, iso
from moln.kernel.context import RequestContext
from moln.kernel.log import redact
from moln.kernel.metrics import Family

EVENT = "http://schemas.dmtf.org/cloud/audit/1.0/event"
FILES, REFUSED_FILES = 14, 2  # of equal size: with the present ones, all that is kept
LONGEST = 255  # characters of a path or an id, at most
LARGEST = 64 << 10  # bytes of an answer that is searched for an id
ACTIONS = {"POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete"}  # keystonemiddleware, "Audit middleware"
_SIGN_IN = "/identity/v3/auth/tokens"
_ID = re.compile(r"[\w.:@ -]{1,255}")
_log = logging.getLogger("moln.audit")
_encode = msgspec.json.Encoder().encode


class _Known(msgspec.Struct):
    id: str | None = None


class _Thing(msgspec.Struct):
    """What is looked for in an answer; a token tells whose it is."""

    id: str | int | None = None
    uuid: str | None = None
    name: str | None = None
    methods: list[str] | None = None
    user: _Known | None = None
    project: _Known | None = None


_thing = msgspec.json.Decoder(_Thing).decode
_named = msgspec.json.Decoder(dict[str, _Thing]).decode


class _Kept:
    """A file that is begun anew when it is full; the older ones are numbered, and the oldest goes."""

    def __init__(self, path: Path, limit: int, files: int):
        self.path = path
        self._limit = limit
        self._files = files
        self._fd = -1

    def write(self, line: bytes) -> None:
        """Raises: OSError."""
        if self._fd < 0 or not (now := os.fstat(self._fd)).st_nlink:
            self._open()
        elif now.st_size + len(line) > self._limit:
            self._turn()
        os.write(self._fd, line)

    def _open(self) -> None:
        self.close()
        self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def _turn(self) -> None:
        for number in range(self._files - 1, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number - 1}") if number > 1 else self.path
            with contextlib.suppress(FileNotFoundError):
                older.replace(self.path.with_name(f"{self.path.name}.{number}"))
        self._open()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Audit:
    """The audit log of one process. limit: bytes of everything that it keeps."""

    def __init__(self, folder: Path, clock: Clock, ids: Ids, limit: int):
        each = limit // (FILES + REFUSED_FILES)
        self._known = _Kept(folder / "audit.log", each, FILES)
        self._refused = _Kept(folder / "audit-refused.log", each, REFUSED_FILES)
        self._clock = clock
        self._ids = ids
        self.written = self.lost = 0

    def note(self, ctx: RequestContext | None, *, service: str, method: str, route: str, action: str, path: str, ids: list[str],
             address: str, status: int, answer: bytes | None, request_id: str) -> None:  # fmt: skip
        """Write one event; a disk that takes none costs the line, not the request.

        route: the template. action: of `POST …/action`. ids: the path's variables. answer: searched for the id of what was made.
        """
        done = status < 400
        made = _made(answer) if done and method == "POST" and not action else {}
        initiator = _initiator(ctx, made)
        event = {
            "typeURI": EVENT,
            "eventType": "activity",
            "id": self._ids.uuid(),
            "eventTime": self._time(),
            "action": _action(method, route, action),
            "outcome": "success" if done else "failure",
            "reason": {"reasonType": "HTTP", "reasonCode": str(status)},
            "initiator": initiator | {"host": {"address": address}},
            "target": {"typeURI": _type(service, route), "id": _shown(made.get("id") or (ids[-1] if ids else "") or "unknown")},
            "observer": {"typeURI": f"service/{service}", "id": "moln"},
            "requestPath": _shown(path),
            "request_id": request_id,
        }
        try:
            (self._refused if initiator["id"] == "unknown" else self._known).write(_encode(event) + b"\n")
            self.written += 1
        except OSError as error:
            self.lost += 1
            _log.error("an audit line is lost (%s): %s", error.strerror, request_id)

    def _time(self) -> str:
        us = self._clock.now_us()
        return f"{iso(us, suffix='')}.{us % 1_000_000:06d}+0000"

    def families(self) -> list[Family]:
        return [
            Family("moln_audit_lines_total", "counter", "Lines of the audit log.", [({}, self.written)]),
            Family("moln_audit_lost_total", "counter", "Lines that the disk did not take.", [({}, self.lost)]),
        ]

    def close(self) -> None:
        self._known.close()
        self._refused.close()


def _initiator(ctx: RequestContext | None, made: dict[str, str]) -> dict[str, Any]:
    """Whom the token proves; for a sign-in, whom it has proved."""
    found: dict[str, Any] = {"typeURI": "service/security/account/user", "id": made.get("user_id", "unknown")}
    if "project_id" in made:
        found["project_id"] = made["project_id"]
    if ctx is not None and ctx.who is not None:
        found["id"] = ctx.user_id or "unknown"
        if ctx.project_id:
            found["project_id"] = ctx.project_id
        if ctx.who.audit_id:
            found["credential"] = {"type": "token", "audit_id": ctx.who.audit_id}
    return found


def _action(method: str, route: str, action: str) -> str:
    if action:
        return f"update/{action}"
    return "authenticate" if (method, route) == ("POST", _SIGN_IN) else ACTIONS[method]


@functools.cache
def _type(service: str, route: str) -> str:
    """`service/compute/servers` of "/compute/v2.1/servers/{server_id}/action"."""
    parts = [part for part in route.split("/")[2:] if part and "{" not in part and part != "action"]
    return "/".join(["service", service, *(parts[1:] if parts and re.fullmatch(r"v[\d.]+", parts[0]) else parts)])


def _made(answer: bytes | None) -> dict[str, str]:
    """The id of what an answer shows; of a token, whose it is."""
    if not answer or len(answer) > LARGEST:
        return {}
    try:
        found = _named(answer)
    except ValueError:  # not an object of objects: the thing itself, or something else
        try:
            found = {"": _thing(answer)}
        except ValueError:
            return {}
    thing = next(iter(found.values()), _Thing())
    if thing.methods and thing.user is not None:
        user, project = thing.user.id or "unknown", thing.project.id if thing.project else None
        return {"user_id": user, "id": user} | ({"project_id": project} if project else {})
    name = thing.id or thing.uuid or thing.name
    return {"id": name} if isinstance(name, str) and _ID.fullmatch(name) else {}


def _shown(text: str) -> str:
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    return redact(text[:LONGEST])
