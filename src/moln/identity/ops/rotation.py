"""Another key seals tokens from time to time. Several controllers agree on it in the database, long before the first token is sealed with it."""

from __future__ import annotations

from moln.identity.ops.keys import KEEP, Keyring
from moln.identity.ops.state import of
from moln.identity.settings import of as settings_of
from moln.identity.store import sealed as kept
from moln.identity.store import token_keys
from moln.identity.store.token_keys import TokenKey
from moln.kernel.cloud import Cloud

LOOK_S = 3600.0  # seconds between two looks of each controller
STAGED_S = int(2 * LOOK_S)  # seconds that a new key only opens: until then every controller has looked


async def rotate(cloud: Cloud) -> None:
    """A new key, once the present one has sealed for long enough; and those of other controllers."""
    keys, now_s = of(cloud).keys, cloud.clock.now_us() // 1_000_000
    await take(cloud)
    if keys.age_s(now_s) < settings_of(cloud).key_rotation_s:
        return
    if cloud.claims is None:
        keys.rotate()
        return
    sealed = of(cloud).vault.seal(Keyring.new(), now_s)
    await cloud.db.write(token_keys.add, TokenKey(keys.newest + 1, sealed, now_s + STAGED_S), KEEP)
    await take(cloud)


async def take(cloud: Cloud) -> None:
    """What another controller added meanwhile. One that was away for so long that it lacks some of them gets those that there are."""
    if cloud.claims is None:
        return
    keys, vault = of(cloud).keys, of(cloud).vault
    for row in await token_keys.all(cloud.db):
        if row.number > keys.newest:
            keys.add(row.number, vault.open(row.sealed), row.since)


async def replace_all(cloud: Cloud) -> int:
    """Every key is another one, as somebody else has them: no token is good any more, and what is kept sealed is sealed anew. How much that was.

    Whoever dies at any line does it again: what opens is forgotten when nothing is sealed by it.
    """
    state, now_s = of(cloud), cloud.clock.now_us() // 1_000_000
    state.vault.supersede()
    for _ in range(2):  # what requests sealed meanwhile, too
        count: int = await cloud.db.write(kept.again, lambda text: state.vault.again(text, now_s))
    state.vault.forget()
    state.keys.supersede()
    state.keys.forget()
    cloud.db.feed.gap()  # opened tokens are remembered
    return count
