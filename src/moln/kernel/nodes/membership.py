"""Which nodes of other machines belong to the cloud: tokens are given out, nodes admitted and renewed, and refused once removed."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from moln.kernel.clock import Clock
from moln.kernel.db import Database, Transaction
from moln.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from moln.kernel.http.certificates import Authority
from moln.kernel.link.nats_authority import NatsAuthority
from moln.kernel.nodes import requests, tables
from moln.kernel.nodes.requests import Admission, Enrolment
from moln.kernel.nodes.tables import Certificate

TOKEN_S = 24 * 3600  # seconds that a join token is good, unless told otherwise
LONGEST_TOKEN_S = 30 * 24 * 3600
KEPT_US = 24 * 3600 * 1_000_000  # that what has expired is kept: clocks differ
BAD_TOKEN = "This join token is not good: it is mistyped, was used, or is too old. Make another with `moln node token`."
_log = logging.getLogger("moln.nodes")


class Certified(Protocol):
    """A node's side of a renewal, called by its controller."""

    async def admit(self, certificate: str, claims: str) -> None:
        """The certificate (PEM) that it asked for, and the claims that NATS takes with it."""
        ...

    async def request(self) -> str:
        """A request for another certificate (PKCS #10, PEM), however long its own lasts: whoever asks for it answers it, and no other controller."""
        ...

    async def trust(self, ca: str) -> None:
        """These authorities (PEM), and no others. Refused by one whose own certificate is of none of them."""
        ...

    async def claim(self, claims: str) -> None:
        """Other claims, by which it comes back to NATS the next time."""
        ...

    async def authority(self) -> str:
        """The fingerprint of the authority that signed its certificate."""
        ...


class Membership:
    """Of one controller; several share the database. where: nodes find NATS, URLs, and OVN's southbound database (ovsdb(7)); see Controllers.engines."""

    def __init__(self, home: Path, db: Database, clock: Clock, where: Callable[[], Awaitable[tuple[list[str], str]]]):
        """Raises: Failure, when keys or certificates cannot be used."""
        self._db = db
        self._clock = clock
        self._where = where
        self._home = home
        self.read_authority()
        self.nats_authority = NatsAuthority(home / "nats")
        self._given: list[Certificate] = []
        self._members: frozenset[str] = frozenset()
        self._refused: frozenset[str] = frozenset()
        self.stale = True  # whether what was removed must be told to NATS again

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now_us() / 1e6, UTC)

    def read_authority(self) -> None:
        """As its files are now. Raises: Failure."""
        self.authority = Authority(self._home / "tls", self._now())

    async def load(self) -> None:
        """Read again who belongs to us."""
        before = self.revoked()
        self._given = await self._db.all(tables.CERTIFICATES)
        self.stale |= before != self.revoked()
        now = self._clock.now_us()
        self._members = frozenset(c.node for c in self._given if c.refused_at is None and c.expires_at > now)
        self._refused = frozenset(c.serial for c in self._given if c.refused_at is not None)

    @property
    def members(self) -> list[Certificate]:
        """The newest certificate of each node that belongs to us."""
        return list({c.node: c for c in self._given if c.node in self._members and c.refused_at is None}.values())

    def get(self, node: str) -> Certificate:
        """Raises: NotFound."""
        for found in self.members:
            if found.node == node:
                return found
        raise NotFound(f"No node {node} has joined.")

    def admits(self, node: str, serial: int) -> bool:
        """Whether a node belongs to us, and its certificate is not refused (serial 0: it showed none)."""
        return node in self._members and f"{serial:x}" not in self._refused

    def revoked(self) -> dict[str, int]:
        """Keys on NATS that are worth nothing, and since when (seconds since 1970)."""
        return {c.nats_key: c.refused_at // 1_000_000 for c in self._given if c.refused_at is not None}

    async def make_token(self, expires_s: int = TOKEN_S, kind: str = requests.NODE) -> str:
        """A token with which one machine may join, once. Raises: Invalid."""
        if not 60 <= expires_s <= LONGEST_TOKEN_S:
            raise Invalid("A join token is good for a minute to 30 days.", field="expires")
        token, digest = requests.new_token(self.authority.fingerprint, kind)
        now = self._clock.now_us()
        await self._db.write(_add_token_in, digest, now, now + expires_s * 1_000_000)
        return token

    async def end_tokens(self) -> None:
        """No join token is good any more, of nodes and controllers: somebody may have written his own."""
        await self._db.write(_end_tokens_in)

    async def enrol(self, asked: Enrolment, taken: frozenset[str]) -> Admission:
        """Admit whoever has a good token. taken: names of nodes that are there without having joined.

        Raises: Invalid, for what cannot be asked; Forbidden, the same for every bad token; Conflict, when the name belongs to another.
        """
        name = requests.checked_name(asked.name)
        key = requests.requested_key(asked.csr)
        requests.check_nats_key(asked)
        secret = asked.token.strip().partition(".")[0]
        signed = self.authority.sign(key, "node", name, self._now())
        given = self._certificate(signed, name, asked.nats_key)
        await self._db.write(_enrol_in, requests.digest(secret), given, name in taken and name not in self._members)
        await self.load()
        _log.info("node %s joined with certificate %s", name, given.serial)
        return await self._admission(signed, given)

    async def renew(self, node: str, csr: str) -> Admission:
        """Another certificate for a node that asked over its own link. Raises: Invalid, NotFound."""
        key = requests.requested_key(csr)
        signed = self.authority.sign(key, "node", node, self._now())
        given = await self._db.write(_renew_in, self._certificate(signed, node, ""))
        await self.load()
        _log.info("node %s has a new certificate, %s", node, given.serial)
        return await self._admission(signed, given)

    async def remove(self, node: str) -> None:
        """Refuse the node from now on, whatever it shows. Raises: NotFound."""
        await self._db.write(_remove_in, node, self._clock.now_us())
        await self.load()
        _log.info("node %s is removed", node)

    async def forget(self) -> None:
        """Forget tokens and certificates that are too old to be shown by anybody."""
        before = self._clock.now_us() - KEPT_US
        await self._db.write(_forget_in, before)
        await self.load()

    def _certificate(self, signed: x509.Certificate, node: str, nats_key: str) -> Certificate:
        ends = int(signed.not_valid_after_utc.timestamp() * 1e6)
        key = signed.public_key()
        return Certificate(f"{signed.serial_number:x}", node, requests.key_digest(key), nats_key, self._clock.now_us(), ends)  # type: ignore[arg-type]

    async def _admission(self, signed: x509.Certificate, given: Certificate) -> Admission:
        now_s, ends_s = self._clock.now_us() // 1_000_000, given.expires_at // 1_000_000
        claims = self.nats_authority.node(given.node, given.nats_key, now_s=now_s, expires_s=ends_s)
        pem = signed.public_bytes(Encoding.PEM).decode()
        nats, southbound = await self._where()
        return Admission(given.node, pem, self.authority.public.read_text(), claims, nats, southbound)


async def _add_token_in(tx: Transaction, digest: str, now: int, expires: int) -> None:
    await tx.insert(tables.tokens, {"digest": digest, "made_at": now, "expires_at": expires})


async def _end_tokens_in(tx: Transaction) -> None:
    await tx.run(tables.END_TOKENS)


async def _enrol_in(tx: Transaction, digest: str, given: Certificate, taken: bool) -> None:
    """A token is used only by who joins with it: whatever is refused below, it stays as it was."""
    if not await tx.run(tables.USE, of=digest, now=given.issued_at, name=given.node, key=given.key_digest):
        raise Forbidden(BAD_TOKEN)
    others = [c for c in await tx.all(tables.OF_NODE, node=given.node) if c.refused_at is None and c.expires_at > given.issued_at]
    if taken or any(c.key_digest != given.key_digest for c in others):
        raise Conflict(f"There is a node {given.node}. Choose another --name, or remove that one first: moln node remove {given.node}")
    await tx.insert(tables.certificates, given)
    tx.changed("nodes.members", given.node)


async def _renew_in(tx: Transaction, given: Certificate) -> Certificate:
    held = [c for c in await tx.all(tables.OF_NODE, node=given.node) if c.refused_at is None]
    if not held:
        raise NotFound(f"No node {given.node} has joined.")
    renewed = Certificate(given.serial, given.node, given.key_digest, held[-1].nats_key, given.issued_at, given.expires_at)
    await tx.insert(tables.certificates, renewed)
    tx.changed("nodes.members", given.node)
    return renewed


async def _remove_in(tx: Transaction, node: str, now: int) -> None:
    if not await tx.run(tables.REFUSE, name=node, now=now):
        raise NotFound(f"No node {node} has joined.")
    tx.changed("nodes.members", node)


async def _forget_in(tx: Transaction, before: int) -> None:
    await tx.run(tables.FORGET_TOKENS, before=before)
    await tx.run(tables.FORGET_CERTIFICATES, before=before)
