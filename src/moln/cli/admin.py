"""Questions to the controller on its unix socket, which only its user and root may ask."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any
from urllib.parse import quote, urlencode

from moln.host.control import NotRunning
from moln.host.places import Places


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float):
        super().__init__("localhost", timeout=timeout_s)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(places: Places, *path: str, timeout_s: float = 60, method: str = "GET", body: bytes | None = None, **query: object) -> Any:
    """GET /part/part/…?query Returns the decoded JSON. Raises: NotRunning, also with the controller's own refusal."""
    status, body = _get(places, path, timeout_s, method, query, body)
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise NotRunning(f"the controller answered {status} without JSON; see: moln logs controller") from error
    if status >= 400:
        raise NotRunning(answer.get("message") or answer.get("title") or f"the controller answered {status}")
    return answer


def text(places: Places, *path: str, timeout_s: float = 60) -> str:
    """The same for what is not JSON. Raises: NotRunning."""
    status, body = _get(places, path, timeout_s)
    if status >= 400:
        raise NotRunning(f"the controller answered {status}")
    return body.decode()


def _get(places: Places, path: tuple[str, ...], timeout_s: float, method: str = "GET", query: dict[str, object] | None = None,
         body: bytes | None = None) -> tuple[int, bytes]:  # fmt: skip
    connection = _UnixConnection(str(places.admin_socket), timeout_s)
    try:
        connection.request(method, "/" + "/".join(quote(p, safe="") for p in path) + (f"?{urlencode(query)}" if query else ""), body)
        response = connection.getresponse()
        return response.status, response.read()
    except PermissionError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise NotRunning(f"the controller of {places.home} does not answer ({error}); try: moln status") from error
    finally:
        connection.close()
