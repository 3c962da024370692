"""Three controllers with a member of every engine each, and a node: what their ports show, and who writes meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.x509 import Certificate
from tests.e2e.namespace import inside
from tests.e2e.waiting import until
from tests.host.ha_lab import READ, WRITE, gap_s
from tests.host.test_several_controllers import FIRST, SECOND, URLS
from tests.host.test_stolen_controller import THIRD, Stolen
from tests.host.test_two_machines import MOLN
from tests.network.lab import run

from moln.cli import admin
from moln.demo.client import Client
from moln.host import control, rereading
from moln.host.places import PACKAGE_ROOT, USER, Places
from moln.kernel.http import succession
from moln.kernel.http.certificates import Authority

ADDRESSES = {FIRST: "192.0.2.1", SECOND: "192.0.2.2", THIRD: "192.0.2.3"}
PEERS = "etcd, peers"
AMONG = {
    "etcd": 2379,
    PEERS: 2380,
    "postgresql": 5432,
    "patroni": 8008,
    "northbound": 6641,
    "northbound, raft": 6643,
    "southbound, raft": 6644,
    "southbound": 6645,
    "routes": 6222,
}
OPEN = {"southbound, nodes": 6642, "nats": 4222}
MEMBERS = {"southbound, nodes": 6642, "nodes ask": 5011}
GAP_BOUND_S = 30
ANEW_S = 10  # Patroni's API begins anew when its certificate is another
ENDS_DAYS = 25  # later than what doctor says, and sooner than what is renewed
AGE = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from moln.kernel.controllers.showing import ENGINES
from moln.kernel.http import certificates
home, days = Path(sys.argv[1]), int(sys.argv[2])
for engine in ENGINES:
    _, found = certificates.read(home / engine.file)
    made = datetime.now(UTC) - timedelta(days=certificates.DAYS - days)
    certificates.Authority(home / engine.authority, datetime.now(UTC)).ensure_server(
        home / engine.file, frozenset(certificates.names(found)), made, asks=engine.asks, anew=True)
"""
ROUTED = """
import json, socket, sys
with socket.create_connection((sys.argv[1], 4222), timeout=5) as server, server.makefile("rb") as said:
    print(*json.loads(said.readline().removeprefix(b"INFO ")).get("connect_urls", ()))
"""
PATRONICTL = (sys.executable, "-P", str(Path(sys.executable).with_name("patronictl")), "-c")
LOST = ("--lost", ADDRESSES[FIRST], "--lost", ADDRESSES[SECOND])


class Rotated(Stolen):
    def take_anew_at(self, machine: str) -> None:
        token = self.moln(FIRST, "controller", "token").strip()
        self.moln(machine, "controller", "join", URLS[FIRST], "--token", token, "--again")

    def rotate(self, *more: str) -> str:
        """What it says; it may well say that somebody is late."""
        words = [sys.executable, "-P", "-c", MOLN, "certificates", "rotate", *more, "--home", str(self.home / FIRST)]
        done = subprocess.run(["nsenter", f"--net=/run/netns/{self.tag}-{FIRST}", *words], capture_output=True, text=True, timeout=300, check=False,
                              env={"PYTHONPATH": str(PACKAGE_ROOT)})  # fmt: skip
        return done.stdout + done.stderr

    def late(self) -> set[str]:
        found = self.standing()
        return {*found["untold"], *found["old"], *found["away"]}

    def shown(self) -> dict[str, str]:
        """By machine and engine: `new` or `old`."""
        found = {}
        for machine, address in ADDRESSES.items():
            for folder, ports in (("controllers", AMONG), ("tls", MEMBERS)):
                newest, proof = succession.newest(self.home / FIRST / folder), self.home / FIRST / folder / "controller.pem"
                for name, port in ports.items():
                    at = until(lambda name=name, address=address, port=port, proof=proof: self.certificate(name, address, port, proof),
                               f"{name} of {machine} shows one", ANEW_S, each_s=0.5)  # fmt: skip
                    by = succession.issuer(at, (self.home / FIRST / folder / "ca.crt").read_bytes())
                    found[f"{machine} {name}"] = "new" if by == newest else "old"
        return found

    def certificate(self, name: str, address: str, port: int, proof: Path) -> Certificate | None:
        """What is shown there."""
        more = ["-starttls", "postgres"] if name == "postgresql" else []
        said = run("nsenter", f"--net=/run/netns/{self.tag}-{FIRST}", "openssl", "s_client", "-connect", f"{address}:{port}", "-cert", str(proof),
                   "-key", str(proof), *more, check=False, timeout_s=20)  # fmt: skip
        begin = said.find("-----BEGIN CERTIFICATE")
        return succession.trusted(said[begin : said.index("-----END CERTIFICATE-----") + 26].encode())[0] if begin >= 0 else None

    def ends(self) -> dict[int, int]:
        """In how many days the certificates do that engines among controllers show, but for OVN's; by serial number."""
        proof, names = self.home / FIRST / "controllers/controller.pem", ("etcd", PEERS, "postgresql", "patroni", "routes")
        found = [self.certificate(name, address, AMONG[name], proof) for address in ADDRESSES.values() for name in names]
        return {one.serial_number if one else 0: round((one.not_valid_after_utc - datetime.now(UTC)) / timedelta(days=1)) if one else -1 for one in found}

    def age(self, machine: str) -> None:
        """What its engines show ends soon, as it does after a year."""
        home = self.home / machine
        run("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", sys.executable, "-P", "-c", AGE, str(home), str(ENDS_DAYS),
            env={"PYTHONPATH": str(PACKAGE_ROOT)})  # fmt: skip
        for engine in rereading.READ_AT_HUP:
            rereading.hang_up(Places(home), engine)

    def starts(self) -> dict[str, int]:
        """How often each engine of each controller began."""
        return {f"{machine} {e['name']}": e["starts"] for machine in ADDRESSES for e in control.status(Places(self.home / machine))["engines"]}

    def routed(self) -> set[str]:
        """Addresses of other servers of NATS that the first one has routes to."""
        said = self.inside(FIRST, sys.executable, "-P", "-c", ROUTED, ADDRESSES[FIRST])
        return {url.rpartition(":")[0] for url in said.split()} - {ADDRESSES[FIRST]}

    def streaming(self) -> bool:
        status = admin.ask(Places(self.home / FIRST), "status", timeout_s=20)["database"]
        return {status.get("primary"), *(s["name"] for s in status.get("standbys", ()) if s["state"] == "streaming")} == {"c1", "c2", "c3"}

    def takes_writes(self) -> str:
        """The controller whose database does."""
        return str(admin.ask(Places(self.home / FIRST), "status", timeout_s=20)["database"].get("primary"))

    def confirmed(self) -> bool:
        """Whether all standbys have everything, and each may be the one that confirms what comes next."""
        standbys = admin.ask(Places(self.home / FIRST), "status", timeout_s=20)["database"]["standbys"]
        return len(standbys) == 2 and all(s["sync"] == "quorum" and s["lag"] == 0 for s in standbys)

    def switch_over(self, to: str) -> None:
        """Its database takes writes, as the page has an administrator say it."""
        words = [*PATRONICTL, str(self.home / FIRST / "postgresql/patroni.json"), "switchover", "--candidate", to, "--force"]
        print(self.inside(FIRST, "setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", *words))

    def post(self, at: str, path: str, body: object = None) -> Any:
        """What this controller answers; without a body it is a GET."""
        with inside(f"{self.tag}-{at}", keep=True):
            home = self.home / at
            client = Client(f"https://{ADDRESSES[at]}:5000", user="admin", password=(home / "admin.password").read_text().strip(), project="admin",
                            cacert=str(home / "tls/ca.crt"))  # fmt: skip
            return client.call("GET" if body is None else "POST", path, body)

    def forged(self) -> dict[str, Path]:
        """What the old authorities sign. etcd's peers look at addresses, too."""
        now, folder = datetime.now(UTC), self.kept / "forged"
        folder.mkdir(exist_ok=True)
        members, among = Authority(self.kept / "tls", now), Authority(self.kept / "controllers", now)
        return {
            "member": members.ensure_member(folder / "member.pem", "controller", "c1", now),
            "among": among.ensure_member(folder / "among.pem", "controller", "c1", now),
            "peer": among.ensure_server(folder / "peer.pem", frozenset({ADDRESSES[SECOND]}), now, asks=True),
        }

    def opened(self) -> set[str]:
        """By machine and engine, what lets in who shows a certificate of the old authority."""
        shown, found = self.forged(), set()
        for machine, address in ADDRESSES.items():
            for name, port in {**AMONG, **OPEN}.items():
                proof = shown["peer" if name == PEERS else "member" if name in OPEN else "among"]
                if self.opens(name if name in ("nats", "postgresql") else "tls", address, port, proof):
                    found.add(f"{machine} {name}")
        return found


class Writing:
    """Projects through a controller, one after the other, until `end`."""

    def __init__(self, cloud: Rotated, prefix: str, at: str = FIRST, gap_bound_s: float = GAP_BOUND_S):
        self._gap_bound_s = gap_bound_s
        self._file = cloud.home / f"{prefix}.answers"
        words = [
            "nsenter",
            f"--net=/run/netns/{cloud.tag}-{at}",
            sys.executable,
            "-P",
            "-c",
            WRITE,
            f"https://{ADDRESSES[at]}:5000",
            str(cloud.home / at),
            prefix,
            "1500",
        ]
        with self._file.open("wb") as out:
            self._process = subprocess.Popen(words, stdout=out, env={"PYTHONPATH": str(PACKAGE_ROOT)})
        until(lambda: self._file.read_text().startswith("begun"), "it writes", 30)

    def answers(self) -> list[tuple[float, str, int, str | None]]:
        """When, what, the status, and when to come again."""
        return [tuple(json.loads(line)) for line in self._file.read_text().rpartition("\n")[0].splitlines()[1:]]

    def goes_on(self) -> None:
        """Until something is written from now on."""
        now = time.time()
        until(lambda: any(at > now and status == 201 for at, _, status, _ in self.answers()), "something is written", self._gap_bound_s)

    def end(self) -> set[str]:
        """Names that were answered; the longest time without one is short. What was not written was told to come again."""
        self._process.terminate()
        self._process.wait(30)
        answers = self.answers()
        self._file.unlink()
        statuses = {status: sum(1 for a in answers if a[2] == status) for status in {a[2] for a in answers}}
        print(f"answers by status {statuses}, nothing written for {gap_s(answers):.1f} s")
        assert statuses.keys() <= {201, 503}, [a for a in answers if a[2] not in (201, 503)][:5]
        assert gap_s(answers) < self._gap_bound_s
        return {name for _, name, status, _ in answers if status == 201}


def names(cloud: Rotated, at: str = FIRST) -> set[str]:
    return set(json.loads(cloud.inside(at, sys.executable, "-P", "-c", READ, f"https://{ADDRESSES[at]}:5000", str(cloud.home / at))))
