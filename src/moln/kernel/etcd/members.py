"""The cloud's own etcd as a cluster with a member on each controller (rpc.proto, "Cluster")."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from moln.kernel.controllers.clusters import Member, Standing
from moln.kernel.errors import Conflict, Unavailable
from moln.kernel.etcd.gateway import Etcd, Refused

PEER_PORT = 2380
CATCH_UP_S, AGAIN_S = 12.0, 0.5  # how long members that came before may take to have a vote that counts: etcd changes one after the other


def _address(member: dict[str, Any]) -> str:
    return next((urlsplit(url).hostname or "" for url in member.get("peerURLs", ())), "")


class EtcdMembers:
    """A Cluster."""

    def __init__(self, etcd: Etcd):
        self._etcd = etcd

    async def _members(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self._etcd.call("/v3/cluster/member/list", {})).get("members", [])
        return found

    async def admit(self, address: str) -> list[str] | None:
        """As a learner: it has no vote until it has all data, so that a machine which never comes stops nothing. It has to name all others."""
        ends, at = time.monotonic() + CATCH_UP_S, f"[{address}]" if ":" in address else address
        while True:
            members = await self._members()
            others = [found for found in map(_address, members) if found != address]
            if len(others) < len(members):
                return others
            try:
                await self._promote(members)
                await self._etcd.call("/v3/cluster/member/add", {"peerURLs": [f"https://{at}:{PEER_PORT}"], "isLearner": True})
                return others
            except Unavailable as refused:  # not by Refused alone: until all votes have been connected for 5 s, etcd says that it is "unhealthy" (14)
                if time.monotonic() > ends:
                    if not isinstance(refused, Refused):
                        raise
                    late = ", ".join(_address(member) for member in members if member.get("isLearner"))
                    mend = f" The controller at {late} has not come into etcd yet; if it never will: moln controller remove NAME" if late else ""
                    raise Conflict(f"{refused.message}{mend}", detail=refused.detail) from None
            await asyncio.sleep(AGAIN_S)

    async def _promote(self, members: list[dict[str, Any]]) -> None:
        """Raises: Refused, while one is not up to date."""
        for member in members:
            if member.get("isLearner"):
                await self._etcd.call("/v3/cluster/member/promote", {"ID": member["ID"]})

    async def keep(self, addresses: Sequence[str]) -> None:
        members = await self._members()
        self._etcd.use([url for address in addresses for member in members if _address(member) == address for url in member.get("clientURLs", ())])
        await self._promote(members)

    async def remove(self, address: str) -> None:
        """Etcd says that it is "unhealthy" (14) until all votes have been connected for 5 s, as when one came back or another leads."""
        ends = time.monotonic() + CATCH_UP_S
        while True:
            try:
                await self._remove(address)
                break
            except Unavailable as error:
                if isinstance(error, Refused) or time.monotonic() > ends:
                    raise
            await asyncio.sleep(AGAIN_S)

    async def _remove(self, address: str) -> None:
        for member in await self._members():
            if _address(member) == address:
                await self._etcd.call("/v3/cluster/member/remove", {"ID": member["ID"]})
        self._etcd.use([url for url in self._etcd.urls if urlsplit(url).hostname != address])

    async def look(self, addresses: Sequence[str]) -> list[Standing]:
        members = await self._members()
        found = await asyncio.gather(*(self._one(member) for member in members))
        return [Standing("etcd", list(found))]

    async def _one(self, member: dict[str, Any]) -> Member:
        address = _address(member)
        try:
            answer = await self._etcd.alone(member.get("clientURLs", ())).call("/v3/maintenance/status", {})
        except Unavailable:
            return Member(address, False, learns=bool(member.get("isLearner")))
        return Member(address, True, answer.get("leader") == member["ID"], bool(member.get("isLearner")))
