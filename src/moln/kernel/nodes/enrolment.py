"""`/nodes/enrolment` on the APIs' port: a machine with a join token becomes a node. Nobody has signed in here; the token is the proof."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TypeVar

import falcon
import falcon.asgi
import msgspec

from moln.kernel.clock import Clock
from moln.kernel.errors import Failure, Invalid, TooLarge, TooManyRequests
from moln.kernel.http.faults import status_of
from moln.kernel.nodes.membership import Membership
from moln.kernel.nodes.requests import Enrolment

BODY_BOUND = 16 << 10  # bytes
BURST, AGAIN_S = 10, 6.0  # attempts of one address at once; seconds until one more
EVERYBODYS = "everybody"
EVERYBODYS_BURST, EVERYBODYS_AGAIN_S = 50, 0.5
ADDRESSES = 10_000  # kept, at most
T = TypeVar("T")
_log = logging.getLogger("moln.nodes")
_decode = msgspec.json.Decoder(Enrolment).decode


class Attempts:
    """How often one may try: a bucket for each address, and one for all of them."""

    def __init__(self, monotonic: Callable[[], float]):
        self._monotonic = monotonic
        self._left: dict[str, tuple[float, float]] = {}  # attempts, and when there were so many

    def take(self, address: str) -> None:
        """Raises: TooManyRequests."""
        if len(self._left) > ADDRESSES:
            self._left.clear()
        self._take(address, BURST, AGAIN_S)
        self._take(EVERYBODYS, EVERYBODYS_BURST, EVERYBODYS_AGAIN_S)

    def _take(self, of: str, burst: int, again_s: float) -> None:
        now = self._monotonic()
        left, at = self._left.get(of, (float(burst), now))
        left = min(float(burst), left + (now - at) / again_s)
        if left < 1:
            self._left[of] = left, now
            raise TooManyRequests("Too many attempts to join. Try again soon.", retry_after_s=math.ceil((1 - left) * again_s))
        self._left[of] = left - 1, now


class EnrolmentResource:
    """taken: names of nodes that are connected."""

    def __init__(self, membership: Membership, clock: Clock, taken: Callable[[], frozenset[str]]):
        self._membership = membership
        self._attempts = Attempts(clock.monotonic)
        self._taken = taken

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        try:
            self._attempts.take(req.remote_addr)
            admission = await self._membership.enrol(await asked(req, _decode, "node"), self._taken())
            resp.status = "201 Created"
            resp.data = msgspec.json.encode(admission)
        except Failure as failure:
            _log.warning("a machine at %s may not join: %s", req.remote_addr, failure.message)
            fail(resp, failure)


class AuthorityResource:
    """`/nodes/ca.crt`: the certificate of the cloud's authority, for whoever knows its fingerprint."""

    def __init__(self, membership: Membership):
        self._membership = membership

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.content_type = "application/x-pem-file"
        resp.data = self._membership.authority.public.read_bytes()


async def asked(req: falcon.asgi.Request, decode: Callable[[bytes], T], who: str) -> T:
    """The body. Raises: TooLarge, Invalid."""
    raw = await req.stream.read(BODY_BOUND + 1)
    if len(raw) > BODY_BOUND:
        raise TooLarge("The body is too long.")
    try:
        return decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Invalid(f"The body is not what a {who} asks: {error}") from None


def fail(resp: falcon.asgi.Response, failure: Failure) -> None:
    status = status_of(failure, {})
    resp.status = str(status)
    resp.data = msgspec.json.encode({"error": {"code": status, "message": failure.message}})
    if isinstance(failure, TooManyRequests):
        resp.set_header("Retry-After", str(failure.retry_after_s))
