"""Who outside reads notifications: what one is given to prove itself, and how it is refused."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from moln.kernel.clock import Clock
from moln.kernel.db import Database, Transaction
from moln.kernel.errors import Failure, Invalid, NotFound
from moln.kernel.link import subjects
from moln.kernel.link.nats_authority import NatsAuthority
from moln.kernel.link.nats_keys import USER, NatsKey
from moln.kernel.nodes.nats_server import CONSUMERS, FOLDER, consumers
from moln.kernel.notifications import tables
from moln.kernel.notifications.publisher import Publisher

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
LONGEST_S = 366 * 24 * 3600
FILE = """-----BEGIN NATS USER JWT-----
{claims}
------END NATS USER JWT------

************************* IMPORTANT *************************
Whoever has this file can read every notification of the cloud.

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------

*************************************************************
"""


class Given(Struct, frozen=True):
    """What a consumer is given. creds: claims and key. certificate: with its key, for TLS. ca: whom it takes the server's from. All PEM-like."""

    name: str
    creds: str
    certificate: str
    ca: str
    stream: str
    inbox: str
    urls: tuple[str, ...]


class Consumers:
    """keys: of the cloud's accounts."""

    def __init__(self, home: Path, db: Database, clock: Clock, keys: NatsAuthority, publisher: Publisher):
        self._home, self._db, self._clock, self._keys, self._publisher = home, db, clock, keys, publisher

    async def all(self) -> list[tables.Consumer]:
        """Those that may read."""
        now = self._clock.now_us()
        return [c for c in await self._db.all(tables.CONSUMERS) if c.refused_at is None and c.expires_at > now]

    async def admit(self, name: str, expires_s: int) -> Given:
        """Give somebody what it needs to read; asked again: another key, beside those that it has. Raises: Invalid, Failure, Unavailable."""
        if not NAME.fullmatch(name):
            raise Invalid("A consumer's name has up to 64 letters, digits, - and _.", field="name")
        if not 60 <= expires_s <= LONGEST_S:
            raise Invalid("A consumer's key is good for a minute to 366 days.", field="expires")
        if not (self._home / FOLDER).is_dir():
            raise Failure("Consumers are admitted on the controller that runs nats-server: it has their authority.")
        now_us = self._clock.now_us()
        now = datetime.fromtimestamp(now_us / 1e6, UTC)
        authority = consumers(self._home, now)
        file = authority.ensure_member(self._home / CONSUMERS / f"{name}.pem", "consumer", name, now, anew=True)
        try:
            certificate = file.read_text()
        finally:
            file.unlink()  # it is the consumer's
        key, now_s = NatsKey(USER), now_us // 1_000_000
        claims = self._keys.consumer(name, key.name, now_s=now_s, expires_s=now_s + expires_s)
        await self._publisher.admit(name)
        await self._db.write(_add_in, tables.Consumer(name, key.name, now_us, now_us + expires_s * 1_000_000))
        return Given(name, FILE.format(claims=claims, seed=key.seed(USER)), certificate, (self._home / "tls/ca.crt").read_text(),
                     subjects.STREAM, subjects.consumer_inbox(name), tuple(await self._publisher.urls()))  # fmt: skip

    async def remove(self, name: str) -> None:
        """Refuse all its keys. Raises: NotFound; Unavailable, when NATS cannot be told: it is as soon as something is published."""
        if not await self._db.write(_refuse_in, name, self._clock.now_us()):
            raise NotFound(f"No consumer {name} is known.")
        await self._publisher.forget(name)


async def _add_in(tx: Transaction, consumer: tables.Consumer) -> None:
    await tx.insert(tables.consumers, consumer)


async def _refuse_in(tx: Transaction, name: str, now_us: int) -> int:
    found = [c for c in await tx.all(tables.CONSUMERS) if c.name == name and c.refused_at is None]
    for consumer in found:
        await tx.update(tables.consumers, {"refused_at": now_us}, nats_key=consumer.nats_key)
    return len(found)
