"""Who took resources: consumers and their allocations."""

from __future__ import annotations

from msgspec import Struct

INSTANCE = "INSTANCE"
MIGRATION = "MIGRATION"
UNKNOWN = "unknown"  # the type shown for consumers made before microversion 1.38
Wanted = dict[str, dict[str, int]]  # amounts by resource class by provider id


class Consumer(Struct, frozen=True):
    """Who holds allocations: a server, or whatever an outside client says. generation: raised by each change of them."""

    id: str
    project_id: str
    user_id: str
    consumer_type: str
    generation: int


class Allocation(Struct, frozen=True):
    """A line of the ledger."""

    consumer_id: str
    provider_id: str
    resource_class: str
    used: int
    created_at: int


class Claim(Struct, frozen=True):
    """What a consumer took of a provider at once; as JSON it is a key of the feed's topic `placement.claims`."""

    consumer_id: str
    provider_id: str
    resources: dict[str, int]
