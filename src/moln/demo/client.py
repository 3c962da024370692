"""As much of a client as the demo needs: a token, JSON in and out, and a bound on every wait."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

COMPUTE_VERSION = "2.90"
VOLUME_VERSION = "3.42"  # since then volumes in use grow


class DemoError(Exception):
    """The cloud said no, or too little in time. The message says what."""


class Client:
    """Speaks as one user in one project. url: of the cloud, `http://127.0.0.1:5000`. cacert: the file to trust, for https."""

    def __init__(self, url: str, *, user: str, password: str, project: str, cacert: str = ""):
        self._at = urlsplit(url)
        self._tls = ssl.create_default_context(cafile=cacert or None) if self._at.scheme == "https" else None
        methods = {"methods": ["password"], "password": {"user": {"name": user, "domain": {"id": "default"}, "password": password}}}
        scope = {"project": {"name": project, "domain": {"id": "default"}}}
        self._token = ""
        _, headers, _ = self._send("POST", "/identity/v3/auth/tokens", {"auth": {"identity": methods, "scope": scope}})
        self._token = headers["X-Subject-Token"]

    def _connection(self) -> http.client.HTTPConnection:
        host = self._at.hostname or "127.0.0.1"
        if self._tls is not None:
            return http.client.HTTPSConnection(host, self._at.port, timeout=120, context=self._tls)
        return http.client.HTTPConnection(host, self._at.port, timeout=120)

    def _send(self, method: str, path: str, body: Any = None, *, file: Path | None = None) -> tuple[int, Any, bytes]:
        connection = self._connection()
        headers = {"X-Auth-Token": self._token, "OpenStack-API-Version": f"compute {COMPUTE_VERSION}, volume {VOLUME_VERSION}", "Accept": "application/json"}
        try:
            if file is not None:
                with file.open("rb") as data:
                    headers |= {"Content-Type": "application/octet-stream", "Content-Length": str(file.stat().st_size)}
                    connection.request(method, path, data, headers)
                    answer = connection.getresponse()
            else:
                raw = None if body is None else json.dumps(body).encode()
                connection.request(method, path, raw, headers | ({"Content-Type": "application/json"} if raw else {}))
                answer = connection.getresponse()
            said = answer.read()
        except OSError as error:
            raise DemoError(f"{method} {path}: {error}") from error
        finally:
            connection.close()
        if answer.status >= 400:
            raise DemoError(f"{method} {path} answered {answer.status}: {said.decode(errors='replace')[:500]}")
        return answer.status, answer.headers, said

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded answer, None when it is empty. Raises: DemoError."""
        _, _, said = self._send(method, path, body)
        return json.loads(said) if said else None

    def upload(self, path: str, file: Path) -> None:
        """PUT a file. Raises: DemoError."""
        self._send("PUT", path, file=file)

    def ensure(self, kind: str, path: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """The resource with this name, made when there is none. kind: its key on the wire."""
        listed = self.call("GET", path)
        for found in listed[next(k for k in listed if isinstance(listed[k], list) and not k.endswith("_links"))]:
            found = found.get(kind, found)
            if found.get("name") == name and found.get("status", "").lower() not in ("error", "deleted", "killed"):
                return dict(found)
        return self.make(kind, path, name, body)

    def ensure_plain(self, path: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """The same for an API whose bodies have no key around them (image)."""
        for found in self.call("GET", path)["images"]:
            if found["name"] == name:
                return dict(found)
        return dict(self.call("POST", path.split("?")[0], {"name": name, **body}))

    def make(self, kind: str, path: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        said = self.call("POST", path.split("?")[0].removesuffix("/detail"), {kind: {"name": name, **body}})
        return dict(said.get(kind, said))

    def wait(self, path: str, kind: str, until: Callable[[dict[str, Any]], bool], timeout_s: float) -> dict[str, Any]:
        """Ask until it is so. Raises: DemoError, when it ends in error or the time is over."""
        ends = time.monotonic() + timeout_s
        while True:
            said = self.call("GET", path)
            found: dict[str, Any] = said.get(kind, said)
            if until(found):
                return found
            if str(found.get("status", "")).lower() == "error":
                raise DemoError(f"{path} is in error: {found.get('fault', {}).get('message', 'no reason given')}")
            if time.monotonic() > ends:
                raise DemoError(f"{path} is {found.get('status')} after {timeout_s:g} s")
            time.sleep(0.25)  # the public API has no event to wait for
