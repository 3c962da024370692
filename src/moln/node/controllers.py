"""Where a node of another machine's cloud finds controllers: the one that it joined at, and those that it was told of since."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from moln.kernel.http import certificates
from moln.kernel.nodes.gate import GateClient, address_of

_decode = msgspec.json.Decoder(list[str]).decode


class KnownControllers:
    """`Knows` (kernel/controllers/telling.py). file: where it is kept for the next start."""

    def __init__(self, file: Path, gate: GateClient) -> None:
        self._file = file
        self._gate = gate
        with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):  # a damaged one is told anew
            self._use(_decode(file.read_bytes()))

    def _use(self, urls: list[str]) -> None:
        found = [urlsplit(url) for url in urls]
        self._gate.others = [address_of(url.hostname or "", url.port or 443) for url in found if url.scheme == "https"]

    async def controllers(self, urls: list[str]) -> None:
        self._use(urls)
        await asyncio.to_thread(certificates.put, self._file, msgspec.json.encode(urls))
