"""Allocating, inside a caller's transaction: counters by predicate UPDATE, and the ledger beside them. No other way exists."""

from __future__ import annotations

import msgspec

from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict
from moln.placement.model.allocations import INSTANCE, Allocation, Claim, Consumer, Wanted
from moln.placement.store import allocations as store
from moln.placement.store import inventories, providers
from moln.placement.store.tables import allocations, consumers

Key = tuple[str, str]  # provider id, resource class


async def claim_in(tx: Transaction, *, now_us: int, consumer_id: str, project_id: str, user_id: str, provider_id: str,
                   resources: dict[str, int], consumer_type: str = INSTANCE) -> bool:  # fmt: skip
    """Allocate `resources` of one provider to a consumer that holds nothing yet. False: there is no room; nothing was taken.

    Amounts of 0 are left out. Raises: Conflict, when the consumer holds something already.
    """
    asked = sorted((name, n) for name, n in resources.items() if n)
    params = {f"class{i}": name for i, (name, _) in enumerate(asked)} | {f"n{i}": n for i, (_, n) in enumerate(asked)}
    taken = set(await tx.all(inventories.taking(len(asked)), provider_id=provider_id, **params)) if asked else set()
    if len(taken) < len(asked):
        for name, n in asked:
            if name in taken:
                await tx.run(inventories.GIVE, n=n, provider_id=provider_id, resource_class=name)
        return False
    consumer = Consumer(consumer_id, project_id, user_id, consumer_type, 1)
    if not await tx.insert(consumers, consumer, if_absent=True):
        raise Conflict(f"Consumer {consumer_id} holds allocations already.")
    if asked:
        await tx.run(store.adding(len(asked)), consumer_id=consumer_id, provider_id=provider_id, now=now_us, **params)
    claim = Claim(consumer_id, provider_id, dict(asked))
    await providers.raise_generation(tx, provider_id, now_us, claimed=msgspec.json.encode(claim).decode())
    return True


async def release_in(tx: Transaction, consumer_id: str, *, now_us: int) -> bool:
    """Give back all that a consumer holds, and forget the consumer. False: it held nothing."""
    return await replace_in(tx, consumer_id, {}, now_us=now_us) is None and bool(await tx.delete(consumers, id=consumer_id))


async def hand_over_in(tx: Transaction, before: str, after: str, *, consumer_type: str) -> None:
    """Another consumer, who holds nothing yet, holds what the first one held; no counter moves. Nothing, when the first held nothing.

    Raises: Conflict, when the other holds something already.
    """
    had = await tx.one(store.CONSUMER, consumer_id=before)
    if had is None:
        return
    if not await tx.insert(consumers, Consumer(after, had.project_id, had.user_id, consumer_type, 1), if_absent=True):
        raise Conflict(f"Consumer {after} holds allocations already.")
    await tx.update(allocations, {"consumer_id": after}, consumer_id=before)
    await tx.delete(consumers, id=before)


async def move_in(tx: Transaction, consumer_id: str, *, now_us: int, provider_id: str, resources: dict[str, int]) -> bool:
    """Let a known consumer hold `resources` of one provider instead of what it holds. False: there is no room; nothing changed."""
    wanted = {provider_id: {name: n for name, n in resources.items() if n}}
    if await replace_in(tx, consumer_id, wanted, now_us=now_us) is not None:
        return False
    await tx.run(store.RAISE, consumer_id=consumer_id)
    return True


async def replace_in(tx: Transaction, consumer_id: str, wanted: Wanted, *, now_us: int) -> Key | None:
    """Let a consumer hold exactly `wanted`; its own row is the caller's. Returns where room lacks; then nothing was changed.

    Holding less than before is possible on a provider that is over its capacity, too.
    """
    held = {(a.provider_id, a.resource_class): a.used for a in await tx.all(store.OF_CONSUMER, consumer_id=consumer_id)}
    asked = {(provider, name): n for provider, resources in wanted.items() for name, n in resources.items()}
    more = {key: n - held.get(key, 0) for key, n in asked.items() if n > held.get(key, 0)}
    short = await _take(tx, more, asked)
    if short is not None:
        return short
    for provider, name in sorted(held):
        n = asked.get((provider, name), 0)
        had = held[provider, name]
        key = {"provider_id": provider, "resource_class": name}
        if n < had:
            await tx.run(inventories.GIVE, n=had - n, **key)
        if n == 0:
            await tx.delete(allocations, consumer_id=consumer_id, **key)
        elif n != had:
            await tx.update(allocations, {"used": n}, consumer_id=consumer_id, **key)
    for (provider, name), n in asked.items():
        if (provider, name) not in held:
            await tx.insert(allocations, Allocation(consumer_id, provider, name, n, now_us))
    gives = {provider for provider, _ in asked}
    for provider in sorted(gives):
        await providers.raise_generation(tx, provider, now_us)
    for provider in {provider for provider, _ in held} - gives:  # giving back leaves the generation, as in Placement
        tx.changed("placement.providers", provider)
    return None


async def _take(tx: Transaction, more: dict[Key, int], amounts: dict[Key, int]) -> Key | None:
    """Charge the counters, in one order for all writers. Where one has no room, the others are given back, and it is returned.

    amounts: what the consumer will hold in all, which the inventory's units bind.
    """
    taken: list[Key] = []
    for key in sorted(more):
        at = {"provider_id": key[0], "resource_class": key[1]}
        if not await tx.run(inventories.TAKE, n=more[key], amount=amounts[key], **at):
            for provider, name in taken:
                await tx.run(inventories.GIVE, n=more[provider, name], provider_id=provider, resource_class=name)
            return key
        taken.append(key)
    return None
