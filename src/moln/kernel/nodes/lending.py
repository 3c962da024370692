"""What a node that needs an image is told of others that have it, and how these are asked for it.

The controller says who lends, to whom, and what it must be: a node believes no other node.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Literal, Protocol

from msgspec import Struct

from moln.kernel.errors import BackendUnreachable, NotFound

LOAN = "image.loan"  # at a controller's gate: of a name, a Loan
LENT = "image.lent"  # where a lender serves streams: of a name and a secret, the file (sparse.py)
AREA, FETCHING = "node-images", "node-prefetch"  # Lends, Fetches
HELD = "node.images"  # the report of what a node has, a list of names, as in its hello
GOOD_S = 60.0  # seconds that a secret is good
SECRET_BYTES = 24


class Lender(Struct, frozen=True):
    """Who was told to lend. node: whom its certificate must name; empty: a controller, at its gate. address: of its streams. secret: opens the image once."""

    node: str
    address: str
    secret: str


class Loan(Struct, frozen=True):
    """size, data: bytes of the file, with holes and without. digest: what it must be (sparse.digest); empty where nobody lends."""

    size: int
    data: int
    digest: bytes = b""
    lenders: tuple[Lender, ...] = ()


class Lends(Protocol):
    """A node's side, called by controllers."""

    async def lend(self, name: str) -> str:
        """A secret that opens the image here once, soon. Raises: BackendRefused, when it is not here; BackendUnreachable, when too many take some."""
        ...


State = Literal["here", "coming", "absent"]


class Fetches(Protocol):
    """A node's side, called by controllers."""

    async def prefetch(self, name: str, loan: Loan) -> None:
        """Have the image come, if it is not here. Raises: BackendRefused."""
        ...

    async def state(self, name: str) -> State:
        """Whether it is here. Raises: BackendRefused."""
        ...


class Promises:
    """Secrets that a lender gave. most: that are good at a time. clock_s: never goes back."""

    def __init__(self, most: int, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.most, self.clock_s = most, clock_s
        self._given: dict[str, tuple[str, float]] = {}

    def __len__(self) -> int:
        now = self.clock_s()
        self._given = {secret: promise for secret, promise in self._given.items() if promise[1] > now}
        return len(self._given)

    def make(self, what: str) -> str:
        """Another secret for this. Raises: BackendUnreachable, when there are too many."""
        if len(self) >= self.most:
            raise BackendUnreachable("Too many images are promised here.")
        secret = secrets.token_hex(SECRET_BYTES)
        self._given[secret] = what, self.clock_s() + GOOD_S
        return secret

    def take(self, what: str, secret: str) -> None:
        """It is good no more. Raises: NotFound, when it was not for this."""
        promised, until = self._given.get(secret, ("", 0.0))
        if promised != what or until <= self.clock_s():
            raise NotFound("No such image is lent here.")
        del self._given[secret]
