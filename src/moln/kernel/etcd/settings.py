"""The few settings that change without a restart, for all controllers at once: kept in etcd, watched by each, over what its moln.toml says.

What etcd said last goes on while it is away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from moln.kernel import log
from moln.kernel.cloud import Cloud
from moln.kernel.config import LEVELS, Settings
from moln.kernel.errors import Failure, Invalid, Unavailable
from moln.kernel.etcd.gateway import Etcd

KEYS = "settings/"
AGAIN_S = 2.0  # seconds until etcd is watched again
_log = logging.getLogger("moln.settings")


def _level(text: str) -> str:
    if text not in LEVELS:
        raise Invalid(f"log_level is one of {', '.join(LEVELS)}.", field="log_level")
    return text


def _rate(text: str) -> float:
    try:
        rate = msgspec.convert(text, float, strict=False)
    except msgspec.ValidationError:
        rate = -1.0
    if not 0 <= rate <= 1e6:
        raise Invalid("project_requests_per_s is a number from 0 (any number of requests) to a million.", field="project_requests_per_s")
    return rate


READ: dict[str, Callable[[str], Any]] = {"log_level": _level, "project_requests_per_s": _rate}
"""What may change, and how its text is read. Raises: Invalid."""


class SharedSettings:
    def __init__(self, etcd: Etcd, cloud: Cloud):
        self._etcd = etcd
        self._own: Settings = cloud.settings
        self._apply: dict[str, Callable[[Any], None]] = {"log_level": log.set_level, "project_requests_per_s": cloud.fairness.limit}
        self.said: dict[str, str] = {}  # by etcd, when it was last heard
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._watch(), name="shared settings")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def all(self) -> dict[str, dict[str, Any]]:
        """Each one's value here and now, and whether all controllers share it."""
        return {name: {"value": self._value(name, self.said), "shared": name in self.said} for name in READ}

    async def set(self, name: str, text: str | None) -> None:
        """For all controllers; None: as each one's moln.toml has it. Raises: Invalid, Unavailable."""
        if name not in READ:
            raise Invalid(f"{name} does not change without a restart; these do: {', '.join(READ)}.", field="name")
        if text is None:
            await self._etcd.delete(KEYS + name)
        else:
            READ[name](text)
            await self._etcd.put(KEYS + name, text)

    def _value(self, name: str, said: dict[str, str]) -> Any:
        try:
            return READ[name](said[name]) if name in said else getattr(self._own, name)
        except Invalid as bad:  # another version's, or put there by hand
            _log.warning("etcd says what %s cannot be: %s", name, bad.message)
            return getattr(self._own, name)

    async def _watch(self) -> None:
        while True:
            try:
                async for _ in self._etcd.watch(KEYS):  # the first time at once
                    self._take(await self._etcd.all(KEYS))
            except Unavailable as lost:
                _log.info("%s", lost.message)
            except Failure as failure:
                _log.warning("shared settings: %s", failure.message)
            except Exception:
                _log.exception("shared settings")
            await asyncio.sleep(AGAIN_S)

    def _take(self, said: dict[str, str]) -> None:
        for name, apply in self._apply.items():
            before, now = self._value(name, self.said), self._value(name, said)
            if now != before:
                apply(now)
                _log.warning("%s is %s from now on", name, now)
        self.said = said
