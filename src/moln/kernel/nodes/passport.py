"""A member's own certificate, and what it takes others for: both sides of mutual TLS between controllers and nodes."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from moln.kernel.http.certificates import member_named


class Passport:
    """certificate: a file with the member's key and certificate. ca: the authority that made it, and every other one."""

    def __init__(self, certificate: Path, ca: Path):
        self.certificate = certificate
        self.ca = ca
        self._server: ssl.SSLContext | None = None
        self._seen: tuple[int, int] | None = None

    def client(self) -> ssl.SSLContext:
        """For one connection to come; what was renewed is read again. Raises: OSError."""
        context = ssl.create_default_context(cafile=self.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate)
        return context

    def server(self) -> ssl.SSLContext:
        """For a server that only members may speak to. Raises: OSError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(self.ca)
        context.load_cert_chain(self.certificate)
        context.sni_callback = self._look  # members always name whom they want to speak to
        self._server, self._seen = context, self._stamp()
        return context

    def _look(self, _: ssl.SSLSocket | ssl.SSLObject, __: str | None, ___: ssl.SSLContext) -> None:
        """Another process may have renewed it: the handshake after this one uses what is there now."""
        if self._stamp() != self._seen:
            self.renewed()

    def _stamp(self) -> tuple[int, int] | None:
        try:
            found = self.certificate.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    def renewed(self) -> None:
        """There is another certificate: handshakes to come use it."""
        self._seen = self._stamp()
        if self._server is not None:
            self._server.load_cert_chain(self.certificate)


def peer_of(certificate: dict[str, Any] | None) -> tuple[str, str] | None:
    """The role and the name of who is at the other end. certificate: as `getpeercert` says it, verified."""
    for kind, value in (certificate or {}).get("subjectAltName", ()):
        if kind == "URI" and (found := member_named(value)):
            return found
    return None
