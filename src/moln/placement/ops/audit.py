"""What must always hold between counters, ledger and consumers."""

from __future__ import annotations

from moln.kernel.db import Reader
from moln.placement.store import allocations as store


async def check_counters(db: Reader) -> list[str]:
    """Sentences, one for each counter that differs from the sum of its allocations."""
    found = [
        f"Provider {d.provider_id} counts {d.used} {d.resource_class} as used; its allocations sum to {d.ledger}."
        for d in await db.all(store.DRIFTED)
    ]
    return found + [
        f"Consumer {a.consumer_id} holds {a.used} {a.resource_class} of provider {a.provider_id}, which has no such inventory."
        for a in await db.all(store.WITHOUT_INVENTORY)
    ]


async def check_consumers(db: Reader) -> list[str]:
    """Sentences, one for each allocation without a consumer and each consumer without allocations."""
    found = [f"Nobody is known to hold {a.used} {a.resource_class} for {a.consumer_id}." for a in await db.all(store.WITHOUT_CONSUMER)]
    return found + [f"Consumer {c.id} holds nothing." for c in await db.all(store.IDLE_CONSUMERS)]
