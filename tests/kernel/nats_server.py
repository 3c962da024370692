"""A real nats-server with the cloud's own authority, for tests: on loopback, begun and ended by whoever asks."""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from datetime import UTC, datetime
from pathlib import Path

import nats

from moln.bench.engines import Nats
from moln.kernel.http.certificates import Authority
from moln.kernel.link import subjects
from moln.kernel.link.nats_authority import UPDATE, NatsAuthority
from moln.kernel.link.nats_keys import USER, NatsKey
from moln.kernel.link.nats_wire import Badge


class NatsServer(Nats):
    """urls: where it listens. authority: signs claims."""

    def __init__(self, home: Path, *, notifications: bool = False):
        super().__init__(home)
        self.notifications = notifications
        self.now = datetime.now(UTC)
        self.ca = Authority(home / "tls", self.now)
        self.authority = NatsAuthority(home / "nats")

    def context(self, role: str, name: str) -> ssl.SSLContext:
        file = self.ca.ensure_member(self.home / f"{role}-{subjects.token(name)}.pem", role, name, self.now)
        context = ssl.create_default_context(cafile=self.ca.public)
        context.load_cert_chain(file)
        return context

    def badge(self, role: str, name: str, key: NatsKey | None = None) -> Badge:
        """role: node or controller."""
        key = key or NatsKey(USER)
        now = int(time.time())
        claims = getattr(self.authority, role)(name, key.name, now_s=now, expires_s=now + 3600)
        return Badge(name, self.urls, lambda: self.context(role, name), key, lambda: claims)

    async def connect(self, badge: Badge, **options: object) -> nats.NATS:
        """With nats-py alone, to try what a node could try. Errors are kept in `.errors`."""
        errors: list[Exception] = []
        closed = asyncio.Event()

        async def note(error: Exception) -> None:
            errors.append(error)

        async def end() -> None:
            closed.set()

        client = await nats.connect(
            badge.urls[0], tls=badge.tls(), user_jwt_cb=lambda: bytearray(badge.claims(), "ascii"), error_cb=note, closed_cb=end,
            signature_cb=lambda drawn: base64.b64encode(badge.key.sign(drawn.encode())), allow_reconnect=False, connect_timeout=5,
            inbox_prefix=subjects.inbox(badge.name), **options,
        )  # fmt: skip
        client.errors, client.ended = errors, closed
        return client

    async def tell_account(self, revoked: dict[str, int] | None = None) -> None:
        """Have the server take the account's claims."""
        key, now = NatsKey(USER), int(time.time())
        claims = self.authority.system("test", key.name, now_s=now, expires_s=now + 60)
        client = await self.connect(Badge("test", self.urls, lambda: self.context("controller", "test"), key, lambda: claims))
        answer = await client.request(UPDATE, self.authority.account(revoked or {}, now_s=now).encode(), timeout=5)
        assert b'"code":200' in answer.data, answer.data
        await client.close()
