"""OVN's databases as clusters, seen from the member beside this controller: its own control socket answers (ovsdb-server(1), `cluster/…`)."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from moln.kernel.controllers.clusters import Member, Standing
from moln.kernel.errors import BackendRefused, BackendUnreachable, Unavailable

DATABASES = {"nb": "OVN_Northbound", "sb": "OVN_Southbound"}
CALL_S, AGREE_S, AGAIN_S = 5.0, 15.0, 0.2
REPLY_BYTES = 1 << 20
SERVER = re.compile(r"^\s+(?P<id>\w{4}) \(\w{4} at \w+:(?P<address>\S+):\d+\)(?P<own> \(self\))?", re.M)


async def ask(socket: Path, method: str, *params: str) -> str:
    """One command of a daemon of OVS's or OVN's (ovs-appctl(8)). Raises: BackendUnreachable; BackendRefused, with its words."""
    try:
        async with asyncio.timeout(CALL_S):
            reply = await _reply(socket, method, params)
    except (OSError, TimeoutError, ValueError) as error:
        raise BackendUnreachable(f"{socket.name} does not answer.", detail=str(error)) from error
    if reply.get("error"):
        raise BackendRefused(f"{socket.name} refuses {method}.", detail=str(reply["error"]).strip())
    return str(reply.get("result") or "")


async def _reply(socket: Path, method: str, params: Sequence[str]) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(str(socket))
    try:
        writer.write(json.dumps({"id": 0, "method": method, "params": list(params)}).encode())
        await writer.drain()
        text = b""
        while True:  # replies carry no length: a JSON value ends where it parses
            part = await reader.read(1 << 16)
            text += part
            if not part or len(text) > REPLY_BYTES:
                raise ConnectionError("no whole reply")
            try:
                return dict(json.loads(text))
            except json.JSONDecodeError:
                continue
    finally:
        writer.close()


def standing(name: str, status: str) -> Standing:
    """What a member's `cluster/status` says of all. Those that it has no connection to or from are down, as it sees it: in brackets."""
    line = dict(found.split(": ", 1) for found in status.splitlines() if ": " in found and not found.startswith(" "))
    connected = set(re.findall(r"(?<!\()(?:->|<-)(\w{4})", line.get("Connections", "")))
    members = []
    for found in SERVER.finditer(status.partition("Servers:")[2]):
        own, leader = bool(found["own"]), line.get("Leader", "")
        members.append(Member(found["address"].strip("[]"), own or found["id"] in connected, leader == ("self" if own else found["id"])))
    return Standing(name, members)


class OvnClusters:
    """A Cluster: both databases, and northd. folder: where their files and sockets are. remotes: what northd's files say, by their names, for
    members at these addresses."""

    def __init__(self, folder: Path, remotes: Callable[[Sequence[str]], dict[str, str]]):
        self._folder, self._remotes = folder, remotes

    async def _standing(self, name: str) -> Standing:
        return standing(f"ovn-{name}", await ask(self._folder / f"{name}.ctl", "cluster/status", DATABASES[name]))

    async def admit(self, address: str) -> None:
        """Nothing: a member asks by itself, and is let in when it has everything."""

    async def keep(self, addresses: Sequence[str]) -> None:
        """northd reads where the databases are when it starts."""
        changed = False
        for name, text in self._remotes(addresses).items():
            file = self._folder / name
            if not file.exists() or file.read_text() != text:
                new = file.with_suffix(".new")
                new.write_text(text)
                new.replace(file)
                changed = True
        if changed:
            await ask(self._folder / "northd.ctl", "exit")  # who keeps engines starts it again

    async def remove(self, address: str) -> None:
        for name in DATABASES:
            await self._kick(name, address)

    async def _kick(self, name: str, address: str) -> None:
        ends, socket = time.monotonic() + AGREE_S, self._folder / f"{name}.ctl"
        asked = False
        while found := self._id(await ask(socket, "cluster/status", DATABASES[name]), address):
            if not asked:
                try:
                    await ask(socket, "cluster/kick", DATABASES[name], found)
                    asked = True
                except BackendRefused as refused:
                    why = str(refused.detail)
            if time.monotonic() > ends:
                raise Unavailable(f"The members of ovn-{name} could not agree that {address} is gone: more than half of them have to be up.",
                                  detail="" if asked else why)  # fmt: skip
            await asyncio.sleep(AGAIN_S)

    @staticmethod
    def _id(status: str, address: str) -> str:
        return next((found["id"] for found in SERVER.finditer(status.partition("Servers:")[2]) if found["address"].strip("[]") == address), "")

    async def look(self, addresses: Sequence[str]) -> list[Standing]:
        return [await self._standing(name) for name in DATABASES]
