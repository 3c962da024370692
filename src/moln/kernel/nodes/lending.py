"""What a node that needs an image is told of others that have it, and how these are asked for it.

The controller says who lends, to whom, and what it must be: a node believes no other node.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

LOAN = "image.loan"  # at a controller's gate: of a name, a Loan
LENT = "image.lent"  # where a node serves streams: of a name and a secret, the file (sparse.py)
AREA, HELD = "node-images", "node.images"  # Lends; the report of what a node has, a list of names, as in its hello


class Lender(Struct, frozen=True):
    """A node that was told to lend; its certificate must name it. address: of its streams. secret: opens the image once."""

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
