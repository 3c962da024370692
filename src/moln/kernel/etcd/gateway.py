"""etcd's v3 API, spoken by its JSON gateway over HTTP/1.1 (docs/adr/0032-several-controllers.md says why not by gRPC).

A connection for each call: there are a few in a second, and none is ever found dead. Names of fields and paths are etcd's (rpc.proto).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import httptools
import msgspec
from msgspec import Struct

from moln.kernel.errors import Unavailable

PREFIX = "moln/"  # of every key: others may use the same etcd
CALL_S = 2.0  # seconds that one server has for an answer
PAGE = 100  # operations of one transaction; etcd takes 128
ANSWER_BOUND = 4 << 20  # bytes
TROUBLE = (OSError, TimeoutError, EOFError, httptools.HttpParserError, msgspec.MsgspecError, ValueError)


class Item(Struct, frozen=True):
    """A key's value. created: the revision of the write that made it, higher than any before. lease: 0, where it has none."""

    key: str
    value: str
    created: int
    lease: int


class Refused(Unavailable):
    """etcd was reached and says no."""


class _Answer:
    """What httptools calls."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.whole = False

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        self.whole = True


class Etcd:
    """urls: of servers of one cluster, tried one after the other. tls: asked at each https connection, so that what was renewed is used."""

    def __init__(self, urls: Sequence[str], tls: Callable[[], ssl.SSLContext] | None = None, call_s: float = CALL_S):
        self._urls = list(urls)
        self._tls = tls
        self._call_s = call_s
        self.trouble = ""  # why none could be reached when one was last asked; empty: it could

    @property
    def urls(self) -> list[str]:
        return list(self._urls)

    def use(self, urls: Sequence[str]) -> None:
        """Ask these from now on; none: as before."""
        if urls and set(urls) != set(self._urls):
            self._urls = list(urls)

    def alone(self, urls: Sequence[str]) -> Etcd:
        """A client of one server alone, with the same proofs. urls: its own; none: it has never begun."""
        return Etcd(urls, self._tls, self._call_s)

    # Keys.

    async def find(self, key: str) -> Item | None:
        found = (await self.call("/v3/kv/range", {"key": _name(key)})).get("kvs", ())
        return _item(found[0]) if found else None

    async def put(self, key: str, value: str) -> None:
        await self.call("/v3/kv/put", {"key": _name(key), "value": _text(value)})

    async def delete(self, key: str) -> None:
        await self.call("/v3/kv/deleterange", {"key": _name(key)})

    async def create(self, key: str, value: str, lease: int = 0) -> tuple[Item, bool]:
        """The key as it is now, and whether it was made by this call. Raises: Unavailable; it may have been made all the same."""
        name = _name(key)
        absent = {"key": name, "target": "CREATE", "result": "EQUAL", "create_revision": "0"}
        made = {"request_put": {"key": name, "value": _text(value), "lease": str(lease)}}
        answer = await self.call("/v3/kv/txn", {"compare": [absent], "success": [made], "failure": [{"request_range": {"key": name}}]})
        if answer.get("succeeded"):
            return Item(key, value, int(answer["header"]["revision"]), lease), True
        return _item(answer["responses"][0]["response_range"]["kvs"][0]), False

    async def raise_to(self, values: dict[str, str], lease: int) -> None:
        """Give each key its value and the lease, but for those that have a higher value (as texts compare)."""
        pages = list(values.items())
        for at in range(0, len(pages), PAGE):
            await self.call("/v3/kv/txn", {"success": [_raising(key, value, lease) for key, value in pages[at : at + PAGE]]})

    # Leases.

    async def grant(self, seconds: int) -> int:
        """A lease of so many seconds at least; its number."""
        return int((await self.call("/v3/lease/grant", {"TTL": str(seconds)}))["ID"])

    async def keep(self, lease: int) -> bool:
        """Begin its time anew. False: it is over, and what it held is gone."""
        answer = await self.call("/v3/lease/keepalive", {"ID": str(lease)})
        return int(answer.get("result", answer).get("TTL", "0")) > 0

    async def left_s(self, lease: int) -> int:
        """Whole seconds that it lasts still; under 0: it is over."""
        return int((await self.call("/v3/lease/timetolive", {"ID": str(lease)})).get("TTL", "0") or "0")

    async def revoke(self, lease: int) -> None:
        await self.call("/v3/lease/revoke", {"ID": str(lease)})

    # Calls.

    async def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Raises: Unavailable, when no server answers: what was asked may have been done all the same."""
        why: list[str] = []
        for url in list(self._urls):
            try:
                async with asyncio.timeout(self._call_s):
                    answer = await self._post(url, path, body)
            except TROUBLE as error:
                why.append(f"{url}: {error or type(error).__name__}")
                self._last(url)
                continue
            if (code := answer.get("code", 0)) in (4, 14):  # its own deadline; no leader
                why.append(f"{url}: {answer.get('message') or answer.get('error')}")
                continue
            self.trouble = ""
            if code:
                raise Refused(f"etcd refuses: {answer.get('message') or answer.get('error')}.", detail=f"{path} {code}")
            return answer
        self.trouble = "; ".join(why) or "no server is named"
        raise Unavailable(f"etcd cannot be reached: {self.trouble}.")

    def _last(self, url: str) -> None:
        """Others first, next time."""
        if url in self._urls:  # it may be another's turn altogether by now
            self._urls.append(self._urls.pop(self._urls.index(url)))

    async def _post(self, url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        async with self._asked(url, path, body) as reader:
            answer = _Answer()
            parser = httptools.HttpResponseParser(answer)
            while not answer.whole:
                parser.feed_data(await _some(reader))
                if len(answer.body) > ANSWER_BOUND:
                    raise ValueError("it says too much")
            found: dict[str, Any] = msgspec.json.decode(bytes(answer.body).partition(b"\n")[0] or b"{}", type=dict)
            return found

    async def watch(self, prefix: str) -> AsyncIterator[None]:
        """Once when it began to watch, then whenever a key below the prefix changes. Raises: Unavailable, when the server goes."""
        first = _name(prefix)
        after = base64.b64encode((PREFIX + prefix)[:-1].encode() + bytes([(PREFIX + prefix).encode()[-1] + 1])).decode()
        url = self._urls[0]
        try:
            async with self._asked(url, "/v3/watch", {"create_request": {"key": first, "range_end": after}}) as reader:
                answer = _Answer()
                parser = httptools.HttpResponseParser(answer)
                while not answer.whole:
                    parser.feed_data(await _some(reader))
                    lines, answer.body = answer.body.split(b"\n")[:-1], answer.body[answer.body.rfind(b"\n") + 1 :]
                    for _ in lines:
                        yield
        except TROUBLE as error:
            self._last(url)
            raise Unavailable(f"etcd cannot be watched: {error!r}.") from None

    async def all(self, prefix: str) -> dict[str, str]:
        """What is below the prefix: values by the rest of their keys."""
        whole = (PREFIX + prefix).encode()
        after = base64.b64encode(whole[:-1] + bytes([whole[-1] + 1])).decode()
        answer = await self.call("/v3/kv/range", {"key": _name(prefix), "range_end": after})
        return {(item := _item(raw)).key.removeprefix(prefix): item.value for raw in answer.get("kvs", ())}

    @contextlib.asynccontextmanager
    async def _asked(self, url: str, path: str, body: dict[str, Any]) -> AsyncIterator[asyncio.StreamReader]:
        where = urlsplit(url)
        secure = self._tls() if where.scheme == "https" and self._tls else None
        reader, writer = await asyncio.open_connection(where.hostname, where.port or 2379, ssl=secure)
        try:
            data = msgspec.json.encode(body)
            head = f"POST {path} HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n"
            writer.write(head.encode() + data)
            yield reader
        finally:
            writer.close()


async def _some(reader: asyncio.StreamReader) -> bytes:
    part = await reader.read(1 << 16)
    if not part:
        raise EOFError("it hung up")
    return part


def _name(key: str) -> str:
    return _text(PREFIX + key)


def _text(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


def _item(raw: dict[str, Any]) -> Item:
    key, value = (base64.b64decode(raw.get(name, "")).decode() for name in ("key", "value"))
    return Item(key.removeprefix(PREFIX), value, int(raw.get("create_revision", "0")), int(raw.get("lease", "0")))


def _raising(key: str, value: str, lease: int) -> dict[str, Any]:
    name = _name(key)
    higher = {"key": name, "target": "VALUE", "result": "GREATER", "value": _text(value)}
    return {"request_txn": {"compare": [higher], "failure": [{"request_put": {"key": name, "value": _text(value), "lease": str(lease)}}]}}
