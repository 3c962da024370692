"""What happens at four times the rate that a cloud can serve: `python -m moln.bench.overload [--seconds 60]`.

One project asks for pages of servers and makes volumes, whether it is answered or not (an open loop); a second one asks now and then.
Wanted: no 5xx but 503, no timeout, at least 80 % of the peak's answers, and the second project served all along.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import uvloop

from moln.bench.load import request
from moln.bench.process import measured
from moln.bench.tenant import VERSION, Tenant, quiet
from moln.demo.client import Client

PEAK_CONNECTIONS, CONNECTIONS = 16, 384
TIMEOUT_S = 30.0
TIMES = 4
LIGHT_S = 0.2  # seconds between two requests of the light project
GOODPUT = 0.8
SERVED = 0.99  # of the light project's requests


class Load:
    """Answers by status, and how long those that were served took; "timeout" and "cut" where there was none."""

    def __init__(self, port: int):
        self.port = port
        self.answers: Counter[str] = Counter()
        self.took: list[float] = []
        self.retry_after: list[int] = []

    @property
    def served(self) -> int:
        return sum(n for status, n in self.answers.items() if status.startswith("2"))

    def quantile(self, part: float) -> float:
        """Seconds."""
        return sorted(self.took)[int(len(self.took) * part)] if self.took else 0.0

    async def ask(self, connection: Connection, raw: bytes, due: float) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status, headers = await connection.ask(raw)
        except TimeoutError:
            self.answers["timeout"] += 1
            connection.close()
            return
        except (OSError, asyncio.IncompleteReadError):
            self.answers["cut"] += 1
            connection.close()
            return
        self.answers[status] += 1
        if status.startswith("2"):
            self.took.append(time.monotonic() - due)
        elif status == "429":
            self.retry_after.append(int(headers.partition(b"retry-after: ")[2].split(b"\r\n")[0]))


class Connection:
    """One kept connection, made when it is needed."""

    def __init__(self, port: int):
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, raw: bytes) -> tuple[str, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(raw)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0] or 0))
        if b"connection: close" in head:
            self.close()
        return head.split(b" ", 2)[1].decode(), head

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def peak(port: int, requests: list[bytes], seconds: float) -> float:
    """Answers a second when a few clients each wait for theirs."""
    load, ends = Load(port), time.monotonic() + seconds

    async def client(at: int) -> None:
        connection = Connection(port)
        while time.monotonic() < ends:
            await load.ask(connection, requests[at % len(requests)], time.monotonic())
            at += 1
        connection.close()

    await asyncio.gather(*(client(n) for n in range(PEAK_CONNECTIONS)))
    return load.served / seconds


async def flood(port: int, requests: list[bytes], rate: float, seconds: float, connections: int = CONNECTIONS) -> Load:
    """`rate` requests a second fall due, whatever becomes of them; those that find every connection busy go out late."""
    load, began = Load(port), time.monotonic()
    numbers = iter(range(int(rate * seconds)))

    async def client() -> None:
        connection = Connection(port)
        for number in numbers:
            due = began + number / rate
            now = time.monotonic()
            if now > began + seconds:
                break
            await asyncio.sleep(max(0.0, due - now))
            await load.ask(connection, requests[number % len(requests)], max(due, now))
        connection.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return load


def light_token(tenant: Tenant) -> str:
    """A second project's."""
    call = tenant.client.call
    project = call("POST", "/identity/v3/projects", {"project": {"name": "light"}})["project"]["id"]
    user = call("POST", "/identity/v3/users", {"user": {"name": "light", "password": "a-Secret-1"}})["user"]["id"]
    role = call("GET", "/identity/v3/roles?name=member")["roles"][0]["id"]
    call("PUT", f"/identity/v3/projects/{project}/users/{user}/roles/{role}")
    return Client(tenant.url, user="light", password="a-Secret-1", project="light")._token


async def both(port: int, heavy: list[bytes], light: list[bytes], seconds: float) -> tuple[float, Load, Load]:
    best = await peak(port, heavy, min(seconds, 10.0))
    return best, *await asyncio.gather(
        flood(port, heavy, TIMES * best, seconds), flood(port, light, 1 / LIGHT_S, seconds, connections=8)
    )


def tell(best: float, heavy: Load, light: Load, seconds: float) -> bool:
    """Print it; whether it is as wanted."""
    goodput, served = heavy.served / seconds / best, light.served / max(1, light.answers.total())
    bad = {s: n for load in (heavy, light) for s, n in load.answers.items() if s in ("timeout", "cut") or s.startswith("5")}
    print(f"peak             {best:.0f} answers a second")
    print(f"heavy project    {heavy.answers.total() / seconds:.0f} a second asked: {dict(heavy.answers)}, goodput {goodput:.0%} of the peak")
    print(f"                 half within {heavy.quantile(0.5):.2f} s, 99 % within {heavy.quantile(0.99):.2f} s; "
          f"Retry-After {min(heavy.retry_after, default=0)}–{max(heavy.retry_after, default=0)} s")
    print(f"light project    {dict(light.answers)}, half within {light.quantile(0.5):.2f} s, 99 % within {light.quantile(0.99):.2f} s")
    good = not bad and goodput >= GOODPUT and served >= SERVED
    print("ok" if good else f"NOT as wanted: {bad or ''} goodput {goodput:.0%}, light project served {served:.1%}")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory(prefix="moln-overload-") as folder:
        home = Path(folder, "home")
        home.mkdir()
        with measured("cloud", "--home", str(home), "--nodes", "4", log=Path(folder, "log")) as cloud:
            tenant = Tenant(cloud.port, home)
            tenant.fill()
            quiet(cloud)
            volume = json.dumps({"volume": {"size": 1}}).encode()
            page = request("GET", "/compute/v2.1/servers/detail?limit=20", X_Auth_Token=tenant.token, OpenStack_API_Version=VERSION)
            heavy = [page] * 9 + [request("POST", "/volume/v3/volumes", volume, X_Auth_Token=tenant.token)]
            light = [request("GET", "/compute/v2.1/flavors", X_Auth_Token=light_token(tenant), OpenStack_API_Version=VERSION)]
            return 0 if tell(*uvloop.run(both(cloud.port, heavy, light, seconds)), seconds) else 1


if __name__ == "__main__":
    sys.exit(main())
