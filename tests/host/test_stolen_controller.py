"""`moln controller remove --stolen`, as an operator types it: whoever has the disk of a controller opens nothing of its cloud with it. Real PostgreSQL,
etcd, NATS and OVN, three controllers and a node in network namespaces."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.namespace import inside
from tests.e2e.waiting import until
from tests.host.test_several_controllers import FIRST, SECOND, URLS, Several
from tests.host.test_two_machines import MOLN
from tests.network import machines

from moln.cli import admin
from moln.demo.client import Client, DemoError
from moln.host.places import PACKAGE_ROOT, Places
from moln.identity.ops.keys import Keyring
from moln.kernel.http.certificates import Authority, member_host

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1800), pytest.mark.skipif(not machines.available(), reason="needs root and engines")]
THIRD, NODE = "c3", "m4"  # machines, beside those of the two controllers
SECRET = (".key", ".pem", ".crt")
ASKS = """
import asyncio, socket, ssl, sys
kind, address, port, ca, shown, name = sys.argv[1:]
if kind == "postgresql":
    import asyncpg
    url = f"postgresql://moln@{address}:{port}/moln?sslmode=require&sslcert={shown}&sslkey={shown}"
    asyncio.run(asyncpg.connect(url, timeout=10))
    sys.exit(0)
context = ssl.create_default_context(cafile=ca)
context.check_hostname = bool(name)
context.load_cert_chain(shown)
with socket.create_connection((address, int(port)), timeout=10) as plain:
    while kind == "nats" and plain.recv(1) != b"\\n":
        pass
    with context.wrap_socket(plain, server_hostname=name or None) as tls:
        tls.settimeout(2)
        try:
            sys.exit(int(tls.recv(1) == b""))
        except TimeoutError:
            sys.exit(0)
"""


class Stolen(Several):
    """With a third controller and a node; c2's disk is copied to `kept`."""

    kept: Path
    given: tuple[str, ...] = ()  # to `init`

    def up(self) -> None:
        self.machine(THIRD, 3)
        self.machine(NODE, 4)
        self.moln(FIRST, "controller", "init", "--ha", "--listen", "192.0.2.1", "--name", "c1", "--detach", *self.given)
        for machine, address, name in ((SECOND, "192.0.2.2", "c2"), (THIRD, "192.0.2.3", "c3")):
            self.join(machine, address, name)
        token = self.moln(FIRST, "node", "token").strip()
        self.moln(NODE, "node", "join", URLS[FIRST], "--token", token, "--name", "n4", "--detach")
        until(lambda: "n4\tup" in self.moln(FIRST, "node", "list"), "the node is up", 60)
        self.kept = self.home / "kept"
        shutil.copytree(self.home / SECOND, self.kept, ignore=shutil.ignore_patterns("*.sock", "*.ctl", "run", "log", "pool", "host", "ovn", "postgresql"))

    def join(self, machine: str, address: str, name: str) -> None:
        self.give_pool(machine)
        token = self.moln(FIRST, "controller", "token").strip()
        words = ("controller", "join", URLS[FIRST], "--token", token, "--listen", address, "--name", name, "--detach")
        until(lambda: self.done(machine, *words), f"{name} joins: etcd takes one member after the other", 90, each_s=2)

    def take_anew(self) -> None:
        token = self.moln(FIRST, "controller", "token").strip()
        self.moln(THIRD, "controller", "join", URLS[FIRST], "--token", token, "--again")

    def standbys(self) -> set[str]:
        return {s["name"] for s in admin.ask(Places(self.home / FIRST), "status", timeout_s=20)["database"].get("standbys", ()) if s["state"] == "streaming"}

    def done(self, machine: str, *words: str) -> bool:
        try:
            return bool(self.moln(machine, *words))
        except AssertionError as error:
            assert "unhealthy cluster" in str(error), error
            return False

    def close(self) -> None:
        for name in (NODE, THIRD):
            if (self.home / name / "host").exists():
                self.moln(name, "down", "--purge")
        super().close()

    def client(self, machine: str = FIRST) -> Client:
        with inside(f"{self.tag}-{machine}", keep=True):
            home = self.home / FIRST
            return Client(URLS[FIRST], user="admin", password=(home / "admin.password").read_text().strip(), project="admin", cacert=str(home / "tls/ca.crt"))

    def call(self, client: Client, method: str, path: str, body: object = None) -> Any:
        with inside(f"{self.tag}-{FIRST}", keep=True):
            return client.call(method, path, body)

    def opens(self, kind: str, address: str, port: int, shown: Path, name: str = "", trusts: str = FIRST) -> bool:
        """Whether what is there lets in who has this certificate, from the machine that was stolen; what the thief trusts is not asked: he has that of `trusts`."""
        ca = self.home / trusts / "controllers/both.crt"
        words = [sys.executable, "-P", "-c", ASKS, kind, address, str(port), str(ca), str(shown), name]
        done = subprocess.run(["nsenter", f"--net=/run/netns/{self.tag}-{SECOND}", *words], capture_output=True, text=True, timeout=60, check=False,
                              env={"PYTHONPATH": str(PACKAGE_ROOT)})  # fmt: skip
        return done.returncode == 0

    def standing(self) -> dict[str, Any]:
        return dict(admin.ask(Places(self.home / FIRST), "authority"))

    def differences(self) -> list[str]:
        """What doctor says of authorities and files."""
        return [v["message"] for name in (FIRST, THIRD) for v in admin.ask(Places(self.home / name), "doctor")["violations"]
                if v["invariant"].startswith("controllers-")]  # fmt: skip

    def ways(self) -> dict[str, bool]:
        """What a thief opens with what he has, and with what he signs by the authorities' keys."""
        now = datetime.now(UTC)
        forged = self.kept / "forged"
        forged.mkdir(exist_ok=True)
        member, among = Authority(self.kept / "tls", now), Authority(self.kept / "controllers", now)
        node = member.ensure_member(forged / "node.pem", "node", "n4", now)
        controller = member.ensure_member(forged / "member.pem", "controller", "c1", now)
        other = among.ensure_member(forged / "among.pem", "controller", "c1", now)
        found = {
            "gate": self.opens("tls", "192.0.2.1", 5011, node, member_host("controller")),
            "streams": self.opens("tls", "192.0.2.4", 5010, controller, member_host("node", "n4")),
        }
        for name, own, made in (("member", self.kept / "tls/controller.pem", controller), ("among", self.kept / "controllers/controller.pem", other)):
            for whose, shown in (("own", own), ("forged", made)):
                of = f"{name}, {whose}"
                found[f"southbound, {of}"] = self.opens("tls", "192.0.2.1", 6642 if name == "member" else 6645, shown)
                if name == "member":
                    found[f"nats, {of}"] = self.opens("nats", "192.0.2.1", 4222, shown)
                else:
                    found[f"northbound, {of}"] = self.opens("tls", "192.0.2.1", 6641, shown)
                    found[f"etcd, {of}"] = self.opens("tls", "192.0.2.1", 2379, shown)
                    found[f"postgresql, {of}"] = self.opens("postgresql", "192.0.2.1", 5432, shown)
        return found


@pytest.fixture(scope="module")
def cloud() -> Iterator[Stolen]:
    found = Stolen()
    try:
        found.up()
        yield found
    finally:
        found.close()


def test_what_a_kept_disk_opened_it_opens_no_more(cloud: Stolen) -> None:
    before, tokens = cloud.client(), Keyring(cloud.kept / "keys")
    me = cloud.call(before, "GET", "/identity/v3/users?name=admin")["users"][0]["id"]
    body = {"credential": {"type": "totp", "user_id": me, "blob": "a secret"}}
    made = cloud.call(before, "POST", "/identity/v3/credentials", body)["credential"]["id"]
    assert tokens.open(before._token)
    assert {name: good for name, good in cloud.ways().items() if not good} == {}

    cloud.moln(SECOND, "down")  # as whoever took the disk did
    unused = cloud.moln(FIRST, "controller", "token").strip().partition(".")[0]
    with pytest.raises(AssertionError, match="PostgreSQL at c1 takes writes"):
        cloud.moln(THIRD, "controller", "remove", "c2", "--stolen")
    with pytest.raises(AssertionError, match="moln controller remove c2; moln controller remove c3. Then, on c3: moln down --purge"):
        cloud.moln(FIRST, "controller", "remove", "c2", "--stolen")
    for name in ("c2", "c3"):
        cloud.moln(FIRST, "controller", "remove", name)
    cloud.moln(THIRD, "down", "--purge")

    said = cloud.moln(FIRST, "controller", "remove", "c2", "--stolen")
    print(said)
    assert "opens nothing of the cloud's own any more" in said and "openstack user password set" in said
    assert "Cut off, as they were not reached" not in said

    assert {name: good for name, good in cloud.ways().items() if good} == {}
    after = cloud.client()
    own, after._token = after._token, before._token
    with pytest.raises(DemoError, match="answered 401"):
        cloud.call(after, "GET", "/identity/v3/users")
    after._token = own
    fingerprint = cloud.standing()["after"]
    refused = cloud.inside(SECOND, sys.executable, "-P", "-c", MOLN, "controller", "join", URLS[FIRST], "--token", f"{unused}.{fingerprint}", "--listen",
                           "192.0.2.2", "--name", "c9", "--join-only", "--home", str(cloud.kept / "again"), check=False)  # fmt: skip
    assert refused == "" and not (cloud.kept / "again/keys").exists()
    with pytest.raises(ValueError, match="no token"):
        tokens.open(after._token)
    assert cloud.call(after, "GET", f"/identity/v3/credentials/{made}")["credential"]["blob"] == "a secret"
    for name in ("keys", "credential-keys", "nats", "tls", "controllers"):
        theirs = {file.read_bytes() for file in (cloud.kept / name).rglob("*") if file.suffix in SECRET}
        assert not theirs & {file.read_bytes() for file in (cloud.home / FIRST / name).rglob("*") if file.suffix in SECRET}, name


def test_the_other_controller_joins_anew(cloud: Stolen) -> None:
    cloud.join(THIRD, "192.0.2.3", "c3")
    listed = {line.split("\t")[0]: line.split("\t")[2] for line in cloud.moln(THIRD, "controller", "list").splitlines()}
    assert listed == {"c1": "up", "c3": "up"}
    until(lambda: cloud.standbys() == {"c3"}, "its database follows", 90)
    until(lambda: cloud.differences() == [], "nothing is wrong", 60)
    assert Places(cloud.home / THIRD).admin_password.read_text() == Places(cloud.home / FIRST).admin_password.read_text()


def test_the_node_stays_and_takes_commands(cloud: Stolen) -> None:
    until(lambda: "n4\tup" in cloud.moln(FIRST, "node", "list"), "the node is up", 60)
    client = cloud.client()

    def chassis() -> bool:
        try:
            agents = cloud.call(client, "GET", "/network/v2.0/agents?binary=ovn-controller")["agents"]
        except DemoError as error:
            assert "503" in str(error), error  # OVN's databases have a majority again, and elect
            return False
        return "n4" in {a["host"] for a in agents if a["alive"]}

    until(chassis, "its chassis is there", 90)
