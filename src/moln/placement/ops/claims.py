"""Allocating, inside a caller's transaction: counters by predicate UPDATE, and the ledger beside them. No other way exists."""

from __future__ import annotations

import msgspec

from moln.kernel.db import Duplicate, Step, Transaction, adding
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
    held = params | {"consumer_id": consumer_id, "provider_id": provider_id, "now": now_us}
    try:
        raised, *_ = await tx.several(
            (providers.RAISE_ANY, {"id": provider_id, "now": now_us}),
            adding(consumers, Consumer(consumer_id, project_id, user_id, consumer_type, 1)),
            *([(store.adding(len(asked)), held)] if asked else []),
        )
    except Duplicate:
        raise Conflict(f"Consumer {consumer_id} holds allocations already.") from None
    if not raised:
        raise Conflict("resource provider generation conflict", type=providers.CONCURRENT)
    tx.changed("placement.claims", msgspec.json.encode(Claim(consumer_id, provider_id, dict(asked))).decode())
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
    steps: list[Step] = []
    for (provider, name), had in sorted(held.items()):
        n = asked.get((provider, name), 0)
        key = {"provider_id": provider, "resource_class": name}
        if n < had:
            steps.append((inventories.GIVE, {**key, "n": had - n}))
        if n == 0:
            steps.append((store.DROP, {**key, "consumer_id": consumer_id}))
        elif n != had:
            steps.append((store.CHANGE, {**key, "consumer_id": consumer_id, "n": n}))
    steps += [
        adding(allocations, Allocation(consumer_id, provider, name, n, now_us))
        for (provider, name), n in asked.items() if (provider, name) not in held
    ]  # fmt: skip
    gives = {provider for provider, _ in asked}
    steps += [(providers.RAISE_ANY, {"id": provider, "now": now_us}) for provider in sorted(gives)]
    await tx.several(*steps)
    for provider in {provider for provider, _ in held} | gives:  # giving back leaves the generation, as in Placement
        tx.changed("placement.providers", provider)
    return None


async def _take(tx: Transaction, more: dict[Key, int], amounts: dict[Key, int]) -> Key | None:
    """Charge the counters, in one order for all writers. Where one has no room, the others are given back, and it is returned.

    amounts: what the consumer will hold in all, which the inventory's units bind.
    """
    keys = sorted(more)
    at = [{"provider_id": provider, "resource_class": name, "n": more[provider, name]} for provider, name in keys]
    touched = await tx.several(*((inventories.TAKE, {**where, "amount": amounts[key]}) for key, where in zip(keys, at, strict=True)))
    if all(touched):
        return None
    await tx.several(*((inventories.GIVE, where) for where, took in zip(at, touched, strict=True) if took))
    return keys[touched.index(0)]
