"""`moln certificates rotate` where PostgreSQL is on each controller: another authority at the end, and the database takes writes throughout. Real PostgreSQL,
Patroni, etcd, NATS and OVN with a member on each of three controllers, and a node; which certificate each of them shows is asked of its port."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.x509 import Certificate
from tests.e2e.waiting import until
from tests.host.ha_lab import READ, WRITE, gap_s
from tests.host.test_several_controllers import FIRST, SECOND, URLS
from tests.host.test_stolen_controller import THIRD, Stolen
from tests.host.test_two_machines import MOLN
from tests.network import machines
from tests.network.lab import run

from moln.cli import admin
from moln.host import control, rereading
from moln.host.places import PACKAGE_ROOT, USER, Places
from moln.kernel.http import certificates, succession
from moln.kernel.http.certificates import Authority

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1800), pytest.mark.skipif(not machines.available(), reason="needs root and engines")]
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
        """By machine and engine: `new`, `old`, or what openssl said."""
        found = {}
        for machine, address in ADDRESSES.items():
            for folder, ports in (("controllers", AMONG), ("tls", MEMBERS)):
                newest, proof = succession.newest(self.home / FIRST / folder), self.home / FIRST / folder / "controller.pem"
                for name, port in ports.items():
                    at = self.certificate(name, address, port, proof)
                    by = at and succession.issuer(at, (self.home / FIRST / folder / "ca.crt").read_bytes())
                    found[f"{machine} {name}"] = "none" if at is None else "new" if by == newest else "old"
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
    """Projects through the first controller, one after the other, until `end`."""

    def __init__(self, cloud: Rotated, prefix: str):
        self._file = cloud.home / f"{prefix}.answers"
        words = [
            "nsenter",
            f"--net=/run/netns/{cloud.tag}-{FIRST}",
            sys.executable,
            "-P",
            "-c",
            WRITE,
            URLS[FIRST],
            str(cloud.home / FIRST),
            prefix,
            "1500",
        ]
        with self._file.open("wb") as out:
            self._process = subprocess.Popen(words, stdout=out, env={"PYTHONPATH": str(PACKAGE_ROOT)})
        until(lambda: self._file.read_text().startswith("begun"), "it writes", 30)

    def end(self) -> set[str]:
        """Names that were answered; the longest time without one is short. What was not written was told to come again."""
        self._process.terminate()
        self._process.wait(30)
        answers = [json.loads(line) for line in self._file.read_text().splitlines()[1:]]
        self._file.unlink()
        statuses = {status: sum(1 for a in answers if a[2] == status) for status in {a[2] for a in answers}}
        print(f"answers by status {statuses}, nothing written for {gap_s(answers):.1f} s")
        assert statuses.keys() <= {201, 503}, [a for a in answers if a[2] not in (201, 503)][:5]
        assert gap_s(answers) < GAP_BOUND_S
        return {name for _, name, status, _ in answers if status == 201}


@pytest.fixture(scope="module")
def cloud() -> Iterator[Rotated]:
    found = Rotated()
    try:
        found.up()
        yield found
    finally:
        found.close()


def test_every_engine_shows_the_new_one_before_the_old_one_ends(cloud: Rotated) -> None:
    until(cloud.streaming, "both follow", 120, each_s=1)
    assert {f"{machine} {name}" for machine in ADDRESSES for name in (*AMONG, *OPEN)} - cloud.opened() == set()
    writing = Writing(cloud, "begun")
    try:
        cloud.rotate()
        assert cloud.standing()["untold"] == ["c2", "c3"]
        assert {name: by for name, by in cloud.shown().items() if by != "old"} == {}
        refused = cloud.rotate("--end", "--force")
        assert "PostgreSQL is on each controller, and c2, c3 would be cut off" in refused
        assert cloud.standing()["step"] == "coming.pem"
        for machine in (SECOND, THIRD):
            cloud.take_anew_at(machine)
        until(lambda: not cloud.late(), "everybody is on the new one", 120, each_s=1)
        assert {name: by for name, by in cloud.shown().items() if by != "new"} == {}
    finally:
        answered = writing.end()
    assert answered <= names(cloud)


def test_the_old_one_ends_and_the_database_takes_writes_throughout(cloud: Rotated) -> None:
    until(cloud.streaming, "both follow", 120, each_s=1)
    writing = Writing(cloud, "ended")
    try:
        assert "alone counts" in cloud.rotate("--end")
        until(cloud.streaming, "both follow one that trusts the new authority alone", 60, each_s=1)
        rereading.begin_anew(Places(cloud.home / FIRST), ["nats-server"])
        until(lambda: cloud.routed() == {ADDRESSES[SECOND], ADDRESSES[THIRD]}, "routes are made anew with those that trust both", 30, each_s=1)
        for machine in (SECOND, THIRD):
            cloud.take_anew_at(machine)
        until(cloud.streaming, "both follow", 120, each_s=1)
    finally:
        answered = writing.end()
    assert answered <= names(cloud)
    assert {name: by for name, by in cloud.shown().items() if by != "new"} == {}
    until(lambda: not cloud.opened(), "the old one's certificates are refused", 30, each_s=1)
    until(lambda: cloud.differences() == [], "nothing is wrong", 60)
    assert {
        (cloud.home / name / folder / "ca.crt").read_bytes().count(b"BEGIN") for name in ADDRESSES for folder in ("tls", "controllers")
    } == {1}


def test_everybody_works_on_by_the_new_one_while_what_ends_soon_is_renewed(cloud: Rotated) -> None:
    writing, begun, before = Writing(cloud, "renewed"), cloud.starts(), cloud.ends()
    try:
        for machine in ADDRESSES:
            cloud.age(machine)
        until(lambda: {tuple(line.split("\t")[::2][:2]) for line in cloud.moln(THIRD, "controller", "list").splitlines()} == {("c1", "up"), ("c2", "up"), ("c3", "up")},
              "all give signs of life", 60, each_s=1)  # fmt: skip
        for machine in (FIRST, SECOND):
            network = cloud.make_network(machine, f"by-{machine}")
            until(lambda network=network: network in cloud.switches(), "OVN has it", 60, each_s=1)
        until(lambda: "n4\tup" in cloud.moln(FIRST, "node", "list"), "the node is up", 60, each_s=1)
        until(lambda: not (now := cloud.ends()).keys() & before.keys() and {*now.values()} == {certificates.DAYS},
              "each controller looks within a minute, and its engines show others", 120, each_s=2)  # fmt: skip
        until(cloud.streaming, "both follow", 60, each_s=1)
    finally:
        answered = writing.end()
    assert answered <= names(cloud)
    assert cloud.starts() == begun, "none of them began anew for it"
    listed = [line.split() for line in cloud.moln(SECOND, "certificates").splitlines() if line.startswith("engine")]
    assert {(words[1], words[2]) for words in listed} == {(name, engine) for name in ("c1", "c2", "c3") for engine in ("etcd", "postgresql", "nats", "ovn")}
    assert [message for message in cloud.violations(FIRST) if "certificate" in message] == []


def names(cloud: Rotated) -> set[str]:
    return set(json.loads(cloud.inside(FIRST, sys.executable, "-P", "-c", READ, URLS[FIRST], str(cloud.home / FIRST))))
