"""What engines on this machine show to those of other controllers, while another authority takes the place of one: seen by a handshake, as those
see it who trust the new one alone.

They meet no certificate of the old one then: etcd keeps its majority, and PostgreSQL what takes writes (docs/adr/0047).
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

from cryptography.hazmat.primitives.serialization import Encoding

from moln.kernel.controllers.database import PORT as POSTGRESQL
from moln.kernel.controllers.proof import FOLDER
from moln.kernel.errors import Failure, Unavailable
from moln.kernel.etcd.members import PEER_PORT
from moln.kernel.http import certificates
from moln.kernel.http.certificates import Authority
from moln.kernel.nodes.passport import Passport

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
        looks = await asyncio.gather(*(wrong(home, authority, address, port, postgresql=port == POSTGRESQL) for address, port in where))
        old = {at: found for at, found in zip(where, looks, strict=True) if found}
        if not old:
            return True
        if look == 0:
            for address in {a for a, port in old if port in (POSTGRESQL, PATRONI)}:
                await _reload(home, address)
        await asyncio.sleep(LOOK_S)
    _log.warning("what engines show is not of the newest authority: %s", "; ".join(f"{a} port {port}: {found}" for (a, port), found in old.items()))
    return False


def _address(file: Path) -> str:
    _, found = certificates.read(file)
    return next(iter(certificates.names(found)), "") if found else ""


async def wrong(home: Path, authority: Authority, address: str, port: int, *, postgresql: bool = False) -> str:
    """Why somebody who trusts the newest authority alone would not talk to who is there; empty: he would. postgresql: TLS begins as its protocol has it."""
    try:
        context = ssl.create_default_context(cadata=authority.newest.public_bytes(Encoding.PEM).decode())
        context.load_cert_chain(home / FOLDER / "controller.pem")
        async with asyncio.timeout(CALL_S):
            if not postgresql:
                _, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=address)
                writer.close()
                return ""
            reader, writer = await asyncio.open_connection(address, port)
            with contextlib.closing(writer):
                writer.write(SSL_REQUEST)
                if await reader.readexactly(1) != b"S":
                    return "it does not do TLS"
                await writer.start_tls(context, server_hostname=address)
        return ""
    except ssl.SSLCertVerificationError as error:
        return f"another's certificate ({error.verify_message})"
    except TROUBLE as error:
        return f"nobody is there ({error or 'no answer'})"


async def _reload(home: Path, address: str) -> None:
    """Patroni reads its files anew, and has PostgreSQL do it, when it looks next: within 3 s."""
    try:
        context = Passport(home / FOLDER / "controller.pem", home / FOLDER / "ca.crt").client()
        async with asyncio.timeout(CALL_S):
            reader, writer = await asyncio.open_connection(address, PATRONI, ssl=context, server_hostname=address)
            with contextlib.closing(writer):
                writer.write(b"POST /reload HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
                answer = await reader.readline()
        if b" 202 " not in answer:
            raise Unavailable(f"Patroni does not read its certificate: {answer.decode('latin-1').strip()}")
    except (*TROUBLE, Failure) as error:
        _log.warning("Patroni at %s was not told that its certificate is another: %s", address, error)
