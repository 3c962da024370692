"""What engines on this machine show to those of other controllers, and to nodes: certificates that last, which they read while they run and which are
then seen by a handshake (docs/adr/0047).

Whoever writes the file has it read: etcd reads its own at each handshake; nats-server, for clients and routes, and Patroni, which has PostgreSQL do it
within 3 s, at SIGHUP: their user is ours. None begins anew for it. (OVN's programs read theirs by themselves; nodes/remote.py renews those.)

While another authority takes the place of one, what controllers alone ask is of the new one, as those see it who trust nothing else: etcd keeps its
majority, PostgreSQL what takes writes, and NATS's servers their routes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import ssl
import struct
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from moln.kernel.controllers.database import PORT as POSTGRESQL
from moln.kernel.controllers.proof import FOLDER
from moln.kernel.etcd.members import PEER_PORT
from moln.kernel.http import certificates
from moln.kernel.http.certificates import Authority
from moln.kernel.link.nats_servers import PORT as NATS
from moln.kernel.nodes import nats_server

ETCD, PATRONI, ROUTES = 2379, 8008, 6222
NATS_SERVER = ("nats-server", f"{nats_server.FOLDER}/{nats_server.FILE}")
SSL_REQUEST = struct.pack("!II", 8, 80877103)  # PostgreSQL's protocol, "SSLRequest"
CALL_S, LOOK_S, LOOKS = 3.0, 0.5, 20
TROUBLE = (OSError, TimeoutError, EOFError, ValueError)
NOBODY = "nobody is there"
_log = logging.getLogger("moln.controllers")


class Engine(Struct, frozen=True):
    """file: in the home, with its key and its certificate. ports: where it shows that. reader: the program that reads it at SIGHUP, and the file that this is
    started with; none: it is read at each handshake. authority: the folder of who signs it. asks: it asks its like, too, and is of the newest authority; else
    of that which serves to the end (certificates.py)."""

    name: str
    file: str
    ports: tuple[int, ...]
    reader: tuple[str, str] | None = None
    authority: str = FOLDER
    asks: bool = True


ENGINES = (
    Engine("etcd", "etcd-server/server.pem", (ETCD, PEER_PORT)),
    Engine("postgresql", "controllers/postgresql.pem", (POSTGRESQL, PATRONI), ("patroni", "postgresql/patroni.json")),
    Engine("nats", "nats-server/route.pem", (ROUTES,), NATS_SERVER),
    Engine("nats", "nats-server/server.pem", (NATS,), NATS_SERVER, authority="tls", asks=False),
)
AMONG = tuple(engine for engine in ENGINES if engine.asks)
SERVING = tuple(engine for engine in ENGINES if not engine.asks)


class Showing:
    """Of one controller. address: where its engines are."""

    def __init__(self, home: Path, address: str):
        self._home, self._address = home, address
        self._seen: dict[Engine, x509.Certificate] = {}

    async def keep(self, now: datetime, engines: Sequence[Engine] = ENGINES) -> bool:
        """Renew what does not last or is of another authority, and have it shown. Whether it is, within some seconds. Raises: Failure."""
        late = {engine: found for engine, found in self._renewed(now, engines).items() if self._seen.get(engine) != found}
        wrong: dict[tuple[Engine, int], str] = {}
        for look in range(LOOKS if late else 0):
            where = [(engine, port) for engine in late for port in engine.ports]
            looks = await asyncio.gather(*(unlike(self._home, engine, self._address, port, now) for engine, port in where))
            wrong = {at: found for at, found in zip(where, looks, strict=True) if found}
            done = late.keys() - {engine for engine, _ in wrong}
            self._seen |= {engine: late.pop(engine) for engine in done}
            if not late:
                return True
            if look == 0:
                for reader in {engine.reader for (engine, _), found in wrong.items() if engine.reader and not found.startswith(NOBODY)}:
                    hang_up(reader[0], self._home / reader[1])
            await asyncio.sleep(LOOK_S)
        if others := [f"{engine.name}, port {port}: {found}" for (engine, port), found in wrong.items() if not found.startswith(NOBODY)]:
            _log.warning("engines do not show the certificates that they were given: %s", "; ".join(others))
        return not late

    def _renewed(self, now: datetime, engines: Sequence[Engine]) -> dict[Engine, x509.Certificate]:
        """What those are to show that are set up here."""
        found = {}
        for engine in engines:
            if (file := self._home / engine.file).exists():
                Authority(self._home / engine.authority, now).renew_server(file, now, asks=engine.asks)
                _, certificate = certificates.read(file)
                if certificate is not None:
                    found[engine] = certificate
        return found


def hang_up(program: str, configuration: Path) -> None:
    """SIGHUP to whoever of our own runs this program by this file. Where nobody does, nothing is done."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is another user's
            process = os.pidfd_open(int(folder.name))
            try:
                words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if str(configuration) in words and program in {word.rpartition("/")[2] for word in words}:
                    signal.pidfd_send_signal(process, signal.SIGHUP)
            finally:
                os.close(process)


async def unlike(home: Path, engine: Engine, address: str, port: int, now: datetime, begins: int = 0) -> str:
    """Why somebody who trusts nothing but the authority that signs it would not talk to who is there, or that another certificate than the file's is shown;
    empty: all is well. begins: see `shown`. Raises: Failure."""
    authority = Authority(home / engine.authority, now)
    try:
        by = authority.newest if engine.asks else authority.certificate
        context = ssl.create_default_context(cadata=by.public_bytes(Encoding.PEM).decode())
        context.load_cert_chain(home / engine.authority / "controller.pem")
        found = await shown(context, address, port, begins)
    except ssl.SSLCertVerificationError as error:
        return f"another's certificate ({error.verify_message})"
    except TROUBLE as error:
        return f"{NOBODY} ({error or 'no answer'})"
    _, wanted = certificates.read(home / engine.file)
    return "" if found == wanted else "the certificate before"


async def shown(context: ssl.SSLContext, address: str, port: int, begins: int = 0, *, whom: str = "") -> x509.Certificate:
    """The certificate that is shown there. begins: the port by whose protocol a conversation begins, where it is another one. whom: the name that it is
    to be of, where that is not the address. Raises: TROUBLE, ssl.SSLCertVerificationError among it."""
    async with asyncio.timeout(CALL_S):
        reader, writer = await asyncio.open_connection(address, port)
        with contextlib.closing(writer):
            if (begins or port) == POSTGRESQL:
                writer.write(SSL_REQUEST)
                if await reader.readexactly(1) != b"S":
                    raise ValueError("it does not do TLS")
            elif (begins or port) == NATS:
                await reader.readline()  # INFO: who it is
            await writer.start_tls(context, server_hostname=whom or address)
            return x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(True))
