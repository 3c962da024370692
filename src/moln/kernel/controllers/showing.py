"""What engines on this machine show to those of other controllers, while another authority takes the place of one: seen by a handshake, as others see it.

Who trusts the new authority alone meets no certificate of the old one then: etcd keeps its majority, and PostgreSQL what takes writes (docs/adr/0047).
etcd reads its file at each handshake; Patroni and PostgreSQL read theirs when Patroni is told (`POST /reload` of its REST API). NATS's servers read
theirs at their next SIGHUP: their routes stand until then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import struct
from datetime import datetime
from pathlib import Path

from cryptography import x509

from moln.kernel.controllers.database import PORT as POSTGRESQL
from moln.kernel.controllers.proof import FOLDER
from moln.kernel.errors import Failure, Unavailable
from moln.kernel.etcd.members import PEER_PORT
from moln.kernel.http import certificates, succession
from moln.kernel.http.certificates import Authority

ETCD, PATRONI = 2379, 8008
FILES = {"etcd-server/server.pem": (ETCD, PEER_PORT), "controllers/postgresql.pem": (POSTGRESQL, PATRONI), "nats-server/route.pem": ()}
"""By file the ports where its certificate is shown."""
SSL_REQUEST = struct.pack("!II", 8, 80877103)  # PostgreSQL's protocol, "SSLRequest"
CALL_S, LOOK_S, LOOKS = 3.0, 0.5, 20
TROUBLE = (OSError, TimeoutError, EOFError, ValueError)
_log = logging.getLogger("moln.controllers")


async def renew(home: Path, now: datetime) -> bool:
    """Have what runs here show certificates of the newest authority. Whether it does, within some seconds. Raises: Failure."""
    authority = Authority(home / FOLDER, now)
    files = {file: ports for file, ports in FILES.items() if (home / file).exists()}
    for file in files:
        authority.renew_server(home / file, now)
    where = [(_address(home / file), port) for file, ports in files.items() for port in ports]
    for look in range(LOOKS):
        old = [(address, port) for (address, port), found in zip(where, await _seen(home, where), strict=True)
               if found is None or succession.issuer(found, authority.public.read_bytes()) != succession.newest(home / FOLDER)]  # fmt: skip
        if not old:
            return True
        if look == 0:
            for address in {a for a, port in old if port in (POSTGRESQL, PATRONI)}:
                await _reload(home, address)
        await asyncio.sleep(LOOK_S)
    _log.warning("a certificate of the authority before is shown, or none, at %s", ", ".join(f"{a} port {port}" for a, port in old))
    return False


def _address(file: Path) -> str:
    _, found = certificates.read(file)
    return next(iter(certificates.names(found)), "") if found else ""


async def _seen(home: Path, where: list[tuple[str, int]]) -> list[x509.Certificate | None]:
    return await asyncio.gather(*(_shown(home, address, port) for address, port in where))


async def _shown(home: Path, address: str, port: int) -> x509.Certificate | None:
    """None: nobody is there. Whose it is, is asked of the certificate itself, so the handshake takes any."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(home / FOLDER / "controller.pem")
        async with asyncio.timeout(CALL_S):
            reader, writer = await asyncio.open_connection(address, port, ssl=None if port == POSTGRESQL else context)
            with contextlib.closing(writer):
                if port == POSTGRESQL:
                    writer.write(SSL_REQUEST)
                    if await reader.readexactly(1) != b"S":
                        return None
                    await writer.start_tls(context)
                shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
                return x509.load_der_x509_certificate(shown) if shown else None
    except TROUBLE:
        return None


async def _reload(home: Path, address: str) -> None:
    """Patroni reads its files anew, and has PostgreSQL do it, when it looks next: within 3 s."""
    try:
        context = ssl.create_default_context(cafile=home / FOLDER / "ca.crt")
        context.load_cert_chain(home / FOLDER / "controller.pem")
        async with asyncio.timeout(CALL_S):
            reader, writer = await asyncio.open_connection(address, PATRONI, ssl=context, server_hostname=address)
            with contextlib.closing(writer):
                writer.write(b"POST /reload HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
                answer = await reader.readline()
        if b" 202 " not in answer:
            raise Unavailable(f"Patroni does not read its certificate: {answer.decode('latin-1').strip()}")
    except (*TROUBLE, Failure) as error:
        _log.warning("Patroni at %s was not told that its certificate is another: %s", address, error)
