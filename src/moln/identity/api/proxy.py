"""The listener that only a proxy reaches (`[identity.federation] listen`): what it says in headers counts, on no other port."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from moln.kernel.errors import Failure
from moln.kernel.http.access import PROXY

ASGI = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
MODE = 0o660  # of a socket: the web server is in its group


def by_proxy(app: ASGI) -> ASGI:
    """The application as the proxy's requests reach it."""

    def answer(scope: dict[str, Any], receive: Any, send: Any) -> Awaitable[None]:
        return app(scope | {PROXY: True}, receive, send)

    return answer


def listener(where: str) -> socket.socket:
    """A socket bound to a path, or to an address and port. Raises: Failure."""
    try:
        return _at_path(Path(where)) if where.startswith("/") else _at_address(where)
    except (OSError, ValueError, OverflowError) as error:
        raise Failure(f"identity.federation.listen: {where} cannot be had ({error}).") from None


def _at_path(path: Path) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if path.is_socket():
            path.unlink()
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~MODE)
    try:
        bound.bind(str(path))
    finally:
        os.umask(before)
    return bound


def _at_address(where: str) -> socket.socket:
    host, _, port = where.rpartition(":")
    host = host.strip("[]")
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((host, int(port)))
    return bound
