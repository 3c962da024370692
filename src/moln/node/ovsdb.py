"""A few transactions with Open vSwitch's database over its unix socket (RFC 7047): all that plugging a tap needs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from moln.kernel.errors import BackendRefused, BackendUnreachable

DATABASE = "Open_vSwitch"
REPLY_BYTES = 8 << 20
CALL_S = 10.0

Row = dict[str, Any]
Operation = dict[str, Any]


class Ovsdb:
    """One connection per transaction: plugging is rare, and nothing is left to mend after a restart of the database."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket

    async def transact(self, *operations: Operation) -> list[Row]:
        """All of them or none. Returns a result per operation. Raises: BackendUnreachable, BackendRefused."""
        try:
            reply = await asyncio.wait_for(self._ask("transact", [DATABASE, *operations]), CALL_S)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            raise BackendUnreachable("Open vSwitch's database does not answer.", detail=str(error)) from error
        failed = reply.get("error") or next((row for row in reply["result"] if row and row.get("error")), None)
        if failed:
            raise BackendRefused("Open vSwitch refused.", detail=str(failed))
        return list(reply["result"])

    async def _ask(self, method: str, params: list[Any]) -> Row:
        reader, writer = await asyncio.open_unix_connection(str(self.socket), limit=REPLY_BYTES)
        try:
            writer.write(json.dumps({"method": method, "params": params, "id": 1}).encode())
            await writer.drain()
            text = ""
            while True:  # replies carry no length: a JSON value ends where it parses
                chunk = await reader.read(1 << 16)
                if not chunk or len(text) > REPLY_BYTES:
                    raise ConnectionError("no whole reply")
                text += chunk.decode()
                try:
                    reply = json.loads(text)
                except ValueError:
                    continue
                if reply.get("id") == 1:
                    return dict(reply)
        finally:
            writer.close()


def pairs(values: dict[str, str]) -> list[Any]:
    """A dictionary in OVSDB's notation."""
    return ["map", [[key, value] for key, value in values.items()]]


def from_pairs(value: list[Any]) -> dict[str, str]:
    return dict(value[1])


def from_set(value: Any) -> list[Any]:
    """A column of "zero or more": one atom stands for itself."""
    return list(value[1]) if isinstance(value, list) and value[0] == "set" else [value]
