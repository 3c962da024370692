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


class _Credential(msgspec.Struct):
    audit_id: str
    type: str = "token"


class _Host(msgspec.Struct):
    address: str


class _Initiator(msgspec.Struct, rename={"type_uri": "typeURI"}):
    id: str
    host: _Host
    project_id: str | msgspec.UnsetType = msgspec.UNSET
    credential: _Credential | msgspec.UnsetType = msgspec.UNSET
    type_uri: str = "service/security/account/user"


class _Reason(msgspec.Struct, rename="camel"):
    reason_code: str
    reason_type: str = "HTTP"


class _Named(msgspec.Struct, rename={"type_uri": "typeURI"}):
    type_uri: str
    id: str


class _Event(msgspec.Struct, rename={"type_uri": "typeURI", "event_type": "eventType", "event_time": "eventTime", "path": "requestPath"}):
    """As it is written; a Struct takes a third of the time of a dictionary."""

    id: str
    event_time: str
    action: str
    outcome: str
    reason: _Reason
    initiator: _Initiator
    target: _Named
    observer: _Named
    path: str
    request_id: str
    type_uri: str = EVENT
    event_type: str = "activity"


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

        route: the template. action: of `POST …/action`. ids: the path's variables. answer: searched for the id of what was made,
        unless the context has whom it signs in.
        """
        done = status < 400
        proved = ctx.proved if ctx is not None and done else None
        if proved is not None:
            made = _signed_in(proved.user_id, proved.project_id)
        else:
            made = _made(answer) if done and method == "POST" and not action else {}
        initiator = _initiator(ctx, made, address)
        target = _shown(made.get("id") or (ids[-1] if ids else "") or "unknown")
        event = _Event(
            self._ids.uuid(), self._time(), _action(method, route, action), "success" if done else "failure", _Reason(str(status)), initiator,
            _Named(_type(service, route), target), _Named(f"service/{service}", "moln"), _shown(path), request_id,
        )  # fmt: skip
        try:
            (self._refused if initiator.id == "unknown" else self._known).write(_encode(event) + b"\n")
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


def _initiator(ctx: RequestContext | None, made: dict[str, str], address: str) -> _Initiator:
    """Whom the token proves; for a sign-in, whom it has proved."""
    found = _Initiator(made.get("user_id", "unknown"), _Host(address), made.get("project_id", msgspec.UNSET))
    if ctx is not None and ctx.who is not None:
        found.id = ctx.user_id or "unknown"
        if ctx.project_id:
            found.project_id = ctx.project_id
        if ctx.who.audit_id:
            found.credential = _Credential(ctx.who.audit_id)
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
        return _signed_in(thing.user.id or "unknown", thing.project.id if thing.project else None)
    name = thing.id or thing.uuid or thing.name
    return {"id": name} if isinstance(name, str) and _ID.fullmatch(name) else {}


def _signed_in(user_id: str, project_id: str | None) -> dict[str, str]:
    made = {"user_id": user_id, "id": user_id}
    if project_id:
        made["project_id"] = project_id
    return made


def _shown(text: str) -> str:
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    return redact(text[:LONGEST])
