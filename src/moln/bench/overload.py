"""What happens at four times the rate that a cloud can serve: `moln bench --overload`.

One project asks for pages of servers and makes volumes, whether it is answered or not (an open loop); a second one asks now and then.
Wanted: no 5xx, no timeout, at least 80 % of the peak's answers, whoever is refused told when to come back, and the second project served
all along.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections import Counter
from collections.abc import Callable

import uvloop
from msgspec import Struct

from moln.bench.load import request
from moln.bench.process import Measured, folder, measured
from moln.bench.rows import Row
from moln.bench.tenant import SERVERS, VERSION, Tenant, quiet
from moln.demo.client import Client

PEAK_CONNECTIONS, CONNECTIONS = 16, 960  # nearly all that a controller takes
TIMEOUT_S = 30.0
TIMES = 4
LIGHT_S = 0.2  # seconds between two requests of the light project
SECONDS = 60.0
PEAK_S = 10.0  # seconds in which the peak is looked for, at most
LOST = 20.0  # per cent of the peak's answers that may be lost
UNSERVED = 1.0  # per cent of the light project's requests
REFUSALS = ("429", "503")


class Load:
    """Answers by status, and how long those that were served took; "timeout" and "cut" where there was none. unsaid: refusals that
    did not say when to come back.
    """

    def __init__(self, port: int):
        self.port = port
        self.answers: Counter[str] = Counter()
        self.took: list[float] = []
        self.retry_after: list[int] = []
        self.unsaid = 0

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
        elif status in REFUSALS:
            said = headers.partition(b"retry-after: ")[2].split(b"\r\n")[0]
            if said.isdigit() and int(said) > 0:
                self.retry_after.append(int(said))
            else:
                self.unsaid += 1


class Connection:
    """One kept connection, made when it is needed. tls: speak https. body: of the last answer."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None):
        self._port, self._tls = port, tls
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.body = b""

    async def ask(self, raw: bytes) -> tuple[str, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls)
        reader, writer = self._streams
        writer.write(raw)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        self.body = await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0] or 0))
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


class Outcome(Struct):
    """What became of two projects' requests in `seconds`. peak: answers a second; dearest, cheapest: milliseconds of the controller's
    processor time for each answer, under overload and at the peak.
    """

    peak: float
    heavy: Load
    light: Load
    seconds: float
    dearest: float
    cheapest: float

    @property
    def goodput(self) -> float:
        """Of the peak, per cent."""
        return 100 * self.heavy.served / self.seconds / self.peak

    def count(self, *statuses: str) -> int:
        """Answers whose status begins with one of these."""
        return sum(n for load in (self.heavy, self.light) for status, n in load.answers.items() if status.startswith(statuses))

    def rows(self) -> list[Row]:
        """Each "at most", as every row is."""
        unserved = 100 * (1 - self.light.served / max(1, self.light.answers.total()))
        times = f"at {TIMES} × the peak"
        return [
            Row(f"{times}: answers 5xx", 0, "", self.count("5"), f"of {self.count(''):,} answers in {self.seconds:g} s"),
            Row(f"{times}: requests without an answer in {TIMEOUT_S:g} s, or cut off", 0, "", self.count("timeout", "cut")),
            Row(f"{times}: refusals that do not say when to come back", 0, "", self.heavy.unsaid + self.light.unsaid,
                f"of {self.count(*REFUSALS):,}; the others said {min(self.heavy.retry_after, default=0)}–{max(self.heavy.retry_after, default=0)} s"),
            Row(f"{times}: answers lost of the peak's", LOST, "%", max(0.0, 100 - self.goodput),
                f"{self.heavy.served / self.seconds:.0f} a second of {self.peak:.0f}; half within {self.heavy.quantile(0.5):.2f} s, "
                f"99 % within {self.heavy.quantile(0.99):.2f} s"),
            Row(f"{times}: the same by the controller's processor time", LOST, "%", max(0.0, 100 - 100 * self.cheapest / self.dearest),
                f"{self.dearest:.2f} ms for an answer, {self.cheapest:.2f} at the peak: neighbours and clients do not count"),
            Row(f"{times}: a light project's requests not served", UNSERVED, "%", unserved,
                f"half within {self.light.quantile(0.5):.2f} s, 99 % within {self.light.quantile(0.99):.2f} s"),
        ]  # fmt: skip


async def both(cloud: Measured, heavy: list[bytes], light: list[bytes], seconds: float) -> Outcome:
    """The peak, then the flood with the light project beside it."""
    before, port = cloud.cpu_s(), cloud.port
    best = await peak(port, heavy, min(seconds, PEAK_S))
    between = cloud.cpu_s()
    loads = await asyncio.gather(flood(port, heavy, TIMES * best, seconds), flood(port, light, 1 / LIGHT_S, seconds, connections=8))
    cheapest = (between - before) / (best * min(seconds, PEAK_S))
    dearest = (cloud.cpu_s() - between) / max(1, sum(load.served for load in loads))
    return Outcome(best, *loads, seconds, 1000 * dearest, 1000 * cheapest)


def measure(seconds: float = SECONDS, step: Callable[[str], object] = print, *, servers: int = SERVERS) -> Outcome:
    """Raises: RuntimeError. step: told what is being done."""
    with folder("moln-overload-") as place:
        home = place / "home"
        home.mkdir()
        with measured("cloud", "--home", str(home), "--nodes", "4", log=place / "log") as cloud:
            step(f"a cloud of {servers} servers")
            tenant = Tenant(cloud.port, home)
            tenant.fill(servers)
            quiet(cloud)
            volume = json.dumps({"volume": {"size": 1}}).encode()
            page = request("GET", "/compute/v2.1/servers/detail?limit=20", X_Auth_Token=tenant.token, OpenStack_API_Version=VERSION)
            heavy = [page] * 9 + [request("POST", "/volume/v3/volumes", volume, X_Auth_Token=tenant.token)]
            light = [request("GET", "/compute/v2.1/flavors", X_Auth_Token=light_token(tenant), OpenStack_API_Version=VERSION)]
            step(f"{TIMES} times what it can serve, for {seconds:g} s")
            return uvloop.run(both(cloud, heavy, light, seconds))
