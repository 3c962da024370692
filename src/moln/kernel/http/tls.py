"""TLS on the APIs' port: with a certificate that the operator gave, or one of the cloud's own authority; both are read again when new."""

from __future__ import annotations

import logging
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from moln.kernel.clock import Clock
from moln.kernel.config import Settings, own_address
from moln.kernel.errors import Failure
from moln.kernel.work import Periodic, Work

FOLDER = "tls"
LOOK_S = 3600.0  # seconds between two looks at the certificate
_log = logging.getLogger("moln.tls")


def names_of(settings: Settings) -> frozenset[str]:
    """What clients may call this server."""
    listen = own_address() if settings.listen in ("0.0.0.0", "::") else settings.listen
    return frozenset(filter(None, ("localhost", "127.0.0.1", "::1", listen, urlsplit(settings.public_url).hostname, _host_name())))


def _host_name() -> str:
    """The host's name, where it can stand in a certificate."""
    name = socket.gethostname().lower()
    return name if name.isascii() and all(part and part.strip("-").replace("-", "").isalnum() for part in name.split(".")) else ""


def trusted(home: Path, settings: Settings) -> str:
    """The file that clients should trust; empty, where it is the system's authorities that they do."""
    if settings.tls_certificate:
        return settings.tls_ca
    return str(home / FOLDER / "ca.crt") if settings.tls else ""


class Tls:
    """The context that handshakes use; what is loaded into it later holds for the handshakes to come."""

    def __init__(self, home: Path, settings: Settings, clock: Clock, client_ca: str = ""):
        """client_ca: a file with the authorities whose clients may show a certificate. Raises: Failure, when there is no certificate to be had."""
        self._home = home
        self._settings = settings
        self._clock = clock
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        self.context.set_alpn_protocols(["http/1.1"])
        self._loaded: list[bytes] = []
        self._ask_for_certificates(client_ca)
        self.renew()

    def _ask_for_certificates(self, authorities: str) -> None:
        """Let clients show one, of these authorities. Raises: Failure."""
        if not authorities:
            return
        try:
            self.context.load_verify_locations(authorities)
        except (OSError, ValueError) as error:
            raise Failure(f"The authorities of clients' certificates, {authorities}, cannot be read ({error}).") from None
        self.context.verify_mode = ssl.CERT_OPTIONAL

    @property
    def periodic(self) -> Periodic:
        async def look(_: Work) -> None:
            self.renew()

        return Periodic("certificate", look, every_s=LOOK_S, everywhere=True)

    def renew(self, *, anew: bool = False) -> bool:
        """Make or read the certificate, if it is time; whether another is used now. anew: one of ours is made whatever the time.

        Raises: Failure; the old one stays.
        """
        certificate, key = self._files(anew)
        try:
            found = [certificate.read_bytes(), key.read_bytes()]
            if found == self._loaded:
                return False
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)  # try it first: the old one must stay usable
            self.context.load_cert_chain(certificate, key, password="")
        except (OSError, ValueError) as error:
            raise Failure(f"The certificate {certificate} with key {key} cannot be used ({error}).") from None
        if self._loaded:
            _log.info("a new certificate is used: %s", certificate)
        self._loaded = found
        return True

    def _files(self, anew: bool) -> tuple[Path, Path]:
        given = self._settings
        if given.tls_certificate:
            return Path(given.tls_certificate), Path(given.tls_key or given.tls_certificate)
        from moln.kernel.http import certificates  # its library costs memory, and most clouds need none of it

        now = datetime.fromtimestamp(self._clock.now_us() / 1e6, UTC)
        file = certificates.ensure(self._home / FOLDER, names_of(given), now, anew=anew)
        return file, file
