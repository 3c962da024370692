"""Structured logs: one JSON object a line, the request's id in each, no secret in any."""

from __future__ import annotations

import asyncio
import atexit
import logging
import re
import sys
import time
from contextvars import ContextVar
from typing import TextIO

import msgspec

request_id: ContextVar[str] = ContextVar("request_id", default="")

ACCESS_S = 0.25  # seconds that an access line may wait, so that many are written at once

_SECRETS = re.compile(
    r"""(?ix) ( ["']? (?: password | adminPass | admin_pass | secret | token | x-auth-token | x-subject-token | private_key )
        ["']? \s* (?: [:=] | %3d ) \s* ["']? ) ( [^"'\s,}]{3,} )"""
)
_CONSOLE = re.compile(r"(os-console-auth-tokens/)[^/?\s]+")
_FERNET = re.compile(r"gAAAA[A-Za-z0-9_\-]{20,}={0,2}")


def redact(text: str) -> str:
    """The text with whatever looks like a password, token or key made `***`."""
    if "gAAAA" in text:
        text = _FERNET.sub("***", text)
    if "os-console-auth" in text:
        text = _CONSOLE.sub(r"\1***", text)
    if ":" in text or "=" in text:  # most lines have neither, and the search is slow
        text = _SECRETS.sub(r"\1***", text)
    return text


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if found := getattr(record, "request_id", None) or request_id.get():
            line["request_id"] = found
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info))
        return msgspec.json.encode({k: v.encode("utf-8", "backslashreplace").decode() for k, v in line.items()}).decode()


class _Line(msgspec.Struct):
    time: str
    level: str
    logger: str
    message: str
    request_id: str
    user: str | None


class _Access:
    """Access lines, written together: one call of `logging` costs as much as half a request."""

    def __init__(self) -> None:
        self.stream: TextIO | None = None
        self._waiting: list[tuple[float, str, str, int, str | None, str]] = []
        self._encode = msgspec.json.Encoder().encode

    def note(self, line: tuple[float, str, str, int, str | None, str]) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_later(ACCESS_S, self.write)
        self._waiting.append(line)

    def write(self) -> None:
        if self.stream is None:
            return
        out, second, prefix = [], 0, ""
        for at, method, path, status, user, found in self._waiting:
            if int(at) != second:
                second = int(at)
                prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            message = redact(f"{method} {path} {status}")
            out.append(self._encode(_Line(f"{prefix}.{int(at % 1 * 1000):03d}Z", "info", "moln.access", message, found, user)).decode())
        self._waiting.clear()
        self.stream.write("\n".join([*out, ""]))
        self.stream.flush()


_access = _Access()


def access(method: str, path: str, status: int, user: str | None, request_id: str) -> None:
    """Note an answer; its line is written within ACCESS_S seconds. Nothing before `configure`, or above level info."""
    if _access.stream is not None:
        _access.note((time.time(), method, path, status, user, request_id))


def set_level(level: str) -> None:
    """Where logging is configured: what it says from now on."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    if any(isinstance(handler.formatter, JsonLines) for handler in root.handlers):
        _access.stream = sys.stderr if root.isEnabledFor(logging.INFO) else None


def configure(level: str = "info") -> None:
    """Log to standard error, where the supervisor keeps it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    _access.stream = sys.stderr if root.isEnabledFor(logging.INFO) else None
    atexit.register(_access.write)
