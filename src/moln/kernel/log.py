"""Structured logs: one JSON object a line, the request's id in each, no secret in any."""

from __future__ import annotations

import logging
import re
import sys
import time
from contextvars import ContextVar

import msgspec

request_id: ContextVar[str] = ContextVar("request_id", default="")

_SECRETS = re.compile(
    r"""(?ix) ( ["']? (?: password | adminPass | admin_pass | secret | token | x-auth-token | x-subject-token | private_key )
        ["']? \s* [:=] \s* ["']? ) ( [^"'\s,}]{3,} )"""
)
_FERNET = re.compile(r"gAAAA[A-Za-z0-9_\-]{20,}={0,2}")


def redact(text: str) -> str:
    """The text with whatever looks like a password, token or key made `***`."""
    if "gAAAA" in text:
        text = _FERNET.sub("***", text)
    return _SECRETS.sub(r"\1***", text)


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
        return msgspec.json.encode(line).decode()


def configure(level: str = "info") -> None:
    """Log to standard error, where the supervisor keeps it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
