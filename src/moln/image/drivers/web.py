"""Fetches images by http(s). Each hop is judged by the address that is really connected to (SEC-11, OSSA-2026-004).

A name is resolved once and its answer both judged and connected to, so that a name server cannot say one thing and then another. Proxies
that the environment names are not asked: they would connect in our place.
"""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

from msgspec import Struct

from moln.kernel.errors import BackendRefused

R = TypeVar("R")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
PORTS = {"http": 80, "https": 443}
HOPS = 5
STALL_S = 60.0  # nothing for so long: the other side is lost
GRACE_S = 60.0  # after so long a download must have been faster
SLOWEST = 16 << 10  # than so many bytes in a second: nobody holds a place among the downloads for ever
PIECE = 1 << 20
REDIRECTS = frozenset({301, 302, 303, 307, 308})
NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Entry(Struct, frozen=True):
    """What an operator allows besides the public internet: a host by name, or a network; port: None is any."""

    host: str | None
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None
    port: int | None


def parse_entry(text: str) -> Entry:
    """`mirror.example.org`, `10.0.0.5:8080`, `192.168.0.0/24`, `[fd00::5]:80`. Raises: ValueError."""
    parts = urlsplit(f"//{text}") if "/" not in text else None
    host, port = (parts.hostname or "", parts.port) if parts else (text, None)
    try:
        return Entry(None, ipaddress.ip_network(host if parts else text), port)
    except ValueError:
        if parts is None or not host:
            raise ValueError(f"{text!r} is no host, address or network") from None
        return Entry(host, None, port)


def embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return inner or address
    return address


def is_public(address: Address) -> bool:
    """Whether anybody on the internet could ask it just as well as we."""
    inner = embedded(address)
    return inner.is_global and not inner.is_multicast


class Allowed:
    """What may be fetched from: public addresses at the schemes' own ports, and what the operator names."""

    def __init__(self, entries: Sequence[str] = ()):
        self.entries = [parse_entry(text) for text in entries]

    def named(self, host: str, port: int) -> bool:
        """Whether the operator named this host."""
        return any(e.host == host and e.port in (None, port) for e in self.entries)

    def reachable(self, host: str, port: int, address: Address) -> bool:
        """Whether a connection to this address may be made for this host."""
        if self.named(host, port):
            return True
        if any(e.network is not None and address in e.network and e.port in (None, port) for e in self.entries):
            return True
        return port in PORTS.values() and is_public(address)

    def problem(self, url: str) -> str | None:
        """What can be seen to be wrong with an address before anything is asked; None when nothing is."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            return "it is not an address"
        if parts.scheme not in PORTS:
            return "only http and https are fetched"
        if not host or not host.isascii() or any(c <= " " or c == "\x7f" for c in url):
            return "it names no host"
        if parts.username is not None or parts.password is not None:
            return "it holds credentials"
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            may_be = any(e.network is not None and e.port in (None, port) for e in self.entries)
            return None if port is None or port in PORTS.values() or may_be or self.named(host, port) else "the port is not allowed"
        return None if self.reachable(host, port or PORTS[parts.scheme], address) else "the host is not allowed"


class Fetched:
    """An answer that is open. length: bytes announced, None when none were. `pieces` once, then it is closed."""

    def __init__(self, web: Web, sock: socket.socket, response: http.client.HTTPResponse):
        self.web, self.sock, self.response = web, sock, response
        self.length = response.length

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body. Raises: BackendRefused, when it breaks off or stalls."""
        received, began = 0, time.monotonic()
        try:
            while piece := await self.web.run(self._read):
                received += len(piece)
                yield piece
                if (so_far := time.monotonic() - began) > GRACE_S and received < SLOWEST * so_far:
                    raise BackendRefused("The server sends too slowly.", detail=f"{received} bytes in {so_far:.0f} s")
            if self.length is not None and received < self.length:
                raise BackendRefused("The download broke off before its end.")
        finally:
            self.close()

    def _read(self) -> bytes:
        """The next bytes: a piece, or what came in STALL_S; none at the end. Blocks."""
        parts: list[bytes] = []
        left, ends = PIECE, time.monotonic() + STALL_S
        while left and time.monotonic() < ends:
            got = self.response.read1(left)
            if not got:
                break
            parts.append(got)
            left -= len(got)
        return b"".join(parts)

    def close(self) -> None:
        """Waits for nobody: a thread that still reads is woken, and the rest is closed in a thread."""
        with suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        with suppress(RuntimeError):  # the threads have ended, and so does the process
            self.web.threads.submit(self._close)

    def _close(self) -> None:
        self.response.close()
        self.sock.close()


class Web:
    """Downloads in threads. allowed: from where. threads: downloads at a time."""

    def __init__(self, allowed: Allowed, *, threads: int = 4, tls: Callable[[], ssl.SSLContext] = ssl.create_default_context):
        self.allowed = allowed
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix="image-web")
        self.tls = tls

    async def stop(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, work: Callable[..., R], *args: object) -> R:
        """Run in a thread. Raises: BackendRefused, for all that a network or a bad server can do."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self.threads, work, *args)
        except ssl.SSLError as error:
            raise BackendRefused("The server's certificate or its TLS is not good.", detail=str(error)) from error
        except TimeoutError as error:
            raise BackendRefused("The server did not answer in time.", detail=str(error)) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise BackendRefused("The download failed.", detail=f"{type(error).__name__}: {error}") from error

    async def open(self, url: str) -> Fetched:
        """Ask for it, through redirects. Raises: BackendRefused."""
        for _ in range(HOPS + 1):
            if why := self.allowed.problem(url):
                raise BackendRefused(f"The address may not be fetched: {why}.", detail=url[:500])
            fetched, onward = await self.run(self._ask, urlsplit(url))
            if onward is None:
                return fetched
            if url.startswith("https:") and not onward.startswith("https:"):
                raise BackendRefused("The server led from https to what is not.")
            url = onward
        raise BackendRefused(f"The server led through more than {HOPS} other addresses.")

    def _ask(self, parts: SplitResult) -> tuple[Fetched, str | None]:
        """The answer, and where it leads instead. Blocks."""
        host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
        connection = http.client.HTTPConnection(host, port, timeout=STALL_S)
        sock = self._connect(host, port)
        try:
            if parts.scheme == "https":
                sock = self.tls().wrap_socket(sock, server_hostname=host)
            connection.sock = sock
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", path, headers={"User-Agent": "moln", "Accept-Encoding": "identity"})
            response = connection.getresponse()
        except BaseException:
            sock.close()
            raise
        fetched = Fetched(self, sock, response)
        if response.status in REDIRECTS and (location := response.getheader("Location")):
            fetched.close()
            return fetched, urljoin(parts.geturl(), location)
        if response.status != 200:
            fetched.close()
            raise BackendRefused(f"The server answered {response.status}.")
        return fetched, None

    def _connect(self, host: str, port: int) -> socket.socket:
        """A connection to an address that was judged, never to a name. Blocks."""
        refused, last = False, OSError("the name has no address")
        for family, kind, protocol, _, where in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            if not self.allowed.reachable(host, port, ipaddress.ip_address(str(where[0]).partition("%")[0])):
                refused = True
                continue
            made = socket.socket(family, kind, protocol)
            try:
                made.settimeout(STALL_S)
                made.connect(where)
                return made
            except OSError as error:
                made.close()
                last = error
        if refused:
            raise BackendRefused("The address may not be fetched: the host is not allowed.", detail=f"{host}:{port}")
        raise last
