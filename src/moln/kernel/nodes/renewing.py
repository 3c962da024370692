"""A node renews its own certificate over its link, long before the old one ends: the key is new, and is made here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from moln.kernel.errors import BackendRefused, Failure
from moln.kernel.http.certificates import MEMBER_SPARE_DAYS
from moln.kernel.nodes.joining import Member, request
from moln.kernel.nodes.requests import Admission

RENEWAL = "node.renewal"
LOOK_S = 3600.0
_log = logging.getLogger("moln.nodes")


class Renewing:
    """`Certified` (membership.py). tell: reports to the controller. spare: how long before its end a certificate is renewed. dropped: what has
    programs of this machine forget an authority that is trusted no more.
    """

    def __init__(self, member: Member, name: str, tell: Callable[[str, Any], bool], spare: timedelta = timedelta(days=MEMBER_SPARE_DAYS),
                 dropped: Callable[[], Awaitable[None]] | None = None):  # fmt: skip
        self._member = member
        self._name = name
        self._tell = tell
        self._spare = spare
        self._dropped = dropped
        self._key: ec.EllipticCurvePrivateKey | None = None

    async def run(self, connected: asyncio.Event, every_s: float = LOOK_S) -> None:
        """Until cancelled: ask when it is time, and again while no answer came."""
        while True:
            await connected.wait()
            await self.ask_if_due()
            await asyncio.sleep(every_s)

    async def ask_if_due(self) -> bool:
        """Whether another certificate was asked for."""
        return self._member.lasts() <= self._spare and self._tell(RENEWAL, await self.request())

    async def request(self) -> str:
        self._key = self._key or ec.generate_private_key(ec.SECP256R1())  # asked twice, the first answer is as good as the second
        return request(self._key, self._name)

    async def admit(self, certificate: str, claims: str) -> None:
        key, self._key = self._key, None
        if key is None:
            raise BackendRefused("No certificate was asked for.")
        try:
            self._member.keep(key, Admission(self._name, certificate, "", claims, []))
        except Failure as failure:
            raise BackendRefused(failure.message) from None
        self._member.passport.renewed()
        _log.info("this node has a new certificate")

    async def trust(self, ca: str) -> None:
        try:
            dropped = self._member.trust(ca)
            self._member.passport.renewed()
        except (Failure, OSError) as failure:
            raise BackendRefused(str(failure)) from None
        _log.info("this node trusts other authorities%s", "; one no more" if dropped else "")
        if dropped and self._dropped is not None:
            await self._dropped()

    async def claim(self, claims: str) -> None:
        try:
            self._member.keep_claims(claims)
        except OSError as error:
            raise BackendRefused(f"The claims cannot be kept ({error.strerror}).") from None

    async def authority(self) -> str:
        return self._member.authority()
