"""A member's own certificate, and what it takes others for: both sides of mutual TLS between controllers and nodes."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path
from typing import Any

from moln.kernel.http.certificates import member_named


class Passport:
    """certificate: a file with the member's key and certificate. ca: the authority that made it and every other one; two, while one takes the other's place."""

    def __init__(self, certificate: Path, ca: Path):
        self.certificate = certificate
        self.ca = ca
        self._server: ssl.SSLContext | None = None
        self._seen: list[tuple[int, int]] = []

    def client(self) -> ssl.SSLContext:
        """For one connection to come; what was renewed is read again. Raises: OSError."""
        context = ssl.create_default_context(cafile=self.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate)
        return context

    def server(self) -> ssl.SSLContext:
        """For a server that only members may speak to. Raises: OSError."""
        self._seen = self._stamp()  # before they are read: what changes meanwhile is seen at the next handshake
        self._server = self._made()
        first = self._made()
        first.sni_callback = self._look
        return first

    def _made(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0  # a session that goes on shows no certificate again
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(self.ca)
        context.load_cert_chain(self.certificate)
        return context

    def _look(self, handshake: ssl.SSLSocket | ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        """Another process may have changed the files. A context cannot forget whom it trusts: each handshake goes on with one of what is there."""
        if self._stamp() != self._seen:
            with contextlib.suppress(OSError):  # half of a change is there: the next handshake looks again
                self.renewed()
        if self._server is not None:
            handshake.context = self._server

    def _stamp(self) -> list[tuple[int, int]]:
        found = []
        for file in (self.certificate, self.ca):
            try:
                at = file.stat()
                found.append((at.st_mtime_ns, at.st_ino))
            except OSError:
                found.append((0, 0))
        return found

    def renewed(self) -> None:
        """There is another certificate, or others are trusted: handshakes to come use it. Raises: OSError, when it cannot be used; the old one stays."""
        seen = self._stamp()
        if self._server is not None:
            self._server = self._made()
        self._seen = seen


def peer_of(certificate: dict[str, Any] | None) -> tuple[str, str] | None:
    """The role and the name of who is at the other end. certificate: as `getpeercert` says it, verified."""
    for kind, value in (certificate or {}).get("subjectAltName", ()):
        if kind == "URI" and (found := member_named(value)):
            return found
    return None
