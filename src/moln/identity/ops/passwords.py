"""Password hashes: argon2id in a thread pool as wide as the cores."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from typing import ClassVar, NamedTuple, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from moln.identity.model.users import MAX_PASSWORD
from moln.identity.ops import foreign_hashes
from moln.identity.ops.hashing import Threads
from moln.kernel.errors import TooManyRequests

_log = logging.getLogger("moln.identity")
T = TypeVar("T")
OURS = "$argon2"
WAITING = 256  # hashes waiting or under way, at most: some seconds of work
FITTED = 10_000  # secrets that fitted and are recognised, at most


def is_foreign(hashed: str) -> bool:
    """Whether a hash is Keystone's, to be renewed when its password is next shown."""
    return not hashed.startswith(OURS) and foreign_hashes.is_foreign(hashed)


class Cost(NamedTuple):
    """What a guess costs. time: passes over the memory."""

    time: int
    memory_kib: int


class Passwords:
    """Hashes and checks; every check costs one hash, whether or not there is something to check against.

    cost: OWASP's for argon2id (Password Storage Cheat Sheet). hashes: how many were begun.
    """

    cost: ClassVar[Cost] = Cost(2, 19456)

    def __init__(self) -> None:
        self.hashes = 0
        self._hasher = PasswordHasher(time_cost=self.cost.time, memory_cost=self.cost.memory_kib, parallelism=1)
        self._threads = Threads("password")
        self._waiting = 0
        self._fitted: OrderedDict[bytes, None] = OrderedDict()
        self._key = os.urandom(32)
        salt, digest = (base64.b64encode(os.urandom(n)).decode().rstrip("=") for n in (16, 32))
        self._decoy = f"$argon2id$v=19$m={self.cost.memory_kib},t={self.cost.time},p=1${salt}${digest}"

    async def hash(self, password: str) -> str:
        return await self._run(self._hasher.hash, password)

    async def verify(self, hashed: str | None, password: str) -> bool:
        """Whether the password is the one. hashed None (no such user, no password): as slow, and False."""
        fits = await self._run(self._verify, hashed or self._decoy, password[:MAX_PASSWORD])
        return bool(fits) and hashed is not None and len(password) <= MAX_PASSWORD

    async def recognise(self, hashed: str | None, secret: str) -> bool:
        """`verify` for programs, which show the same secret every hour: one that fitted this hash before costs none again.

        Only keyed digests are remembered, and only of what fitted: what does not costs a hash each time.
        """
        shown = hashlib.blake2b(f"{hashed} {secret}".encode("utf-8", "surrogatepass"), key=self._key, digest_size=32).digest()
        if shown in self._fitted:
            self._fitted.move_to_end(shown)
            return True
        fits = await self.verify(hashed, secret)
        if fits:
            self._fitted[shown] = None
            if len(self._fitted) > FITTED:
                self._fitted.popitem(last=False)
        return fits

    def _verify(self, hashed: str, password: str) -> bool:
        try:
            return foreign_hashes.verify(hashed, password) if is_foreign(hashed) else self._hasher.verify(hashed, password)
        except (Argon2Error, InvalidHashError):
            return False
        except ModuleNotFoundError as missing:
            _log.error("a password cannot be checked without the package %s: pip install 'moln[import]'", missing.name)
            return False

    async def _run(self, call: Callable[..., T], *args: str) -> T:
        if self._waiting >= WAITING:
            raise TooManyRequests("Too many sign-ins at once. Try again soon.")
        self._waiting += 1
        self.hashes += 1
        try:
            return await self._threads.run(call, *args)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._threads.close()
