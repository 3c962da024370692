"""The cloud's authority is another one at the end, and nothing is cut meanwhile: a controller, a real nats-server and nodes as processes of their own."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.node.test_remote_nodes import Machines, eventually

from moln.cli import admin
from moln.host.places import Places
from moln.kernel.http import certificates, succession
from moln.kernel.http.certificates import member_host
from moln.kernel.nodes import nats_server
from moln.kernel.nodes.gate import PORT_AFTER
from moln.kernel.nodes.joining import Member

pytestmark = pytest.mark.engines


class Rotated(Machines):
    """With what a thief kept before: the controller's folders, and a node's."""

    def step(self, do: str, **more: object) -> dict[str, Any]:
        return dict(admin.ask(Places(self.home), "authority", method="POST", do=do, **more))

    def standing(self) -> dict[str, Any]:
        return dict(admin.ask(Places(self.home), "authority"))

    def reread(self) -> None:
        """What `moln certificates rotate` does where engines are the cloud's own (host/rereading.py)."""
        listen = f"127.0.0.1:{self.nats.port}"
        configuration = self.home / "nats-server/nats.conf"
        before = configuration.read_bytes()
        nats_server.ensure(self.home, listen=listen, names=frozenset({"127.0.0.1"}), now=datetime.now(UTC))
        assert configuration.read_bytes() == before  # another one would need a start anew
        assert self.nats.process is not None
        log = self.home / "nats.log"
        said = log.read_text().count("Reloaded server configuration")
        self.nats.process.send_signal(signal.SIGHUP)
        eventually(lambda: log.read_text().count("Reloaded server configuration") > said, "NATS read it again")

    def member(self, name: str) -> Member:
        return Member(self.folder / name / "host/node/member")

    def connections(self) -> int:
        return (self.home / "nats.log").read_text().count("Client connection created")


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rotated]:
    made = Rotated(tmp_path_factory.mktemp("rotated"))
    try:
        made.start()
        for name in ("n1", "n2"):
            assert made.join(name, made.token()).returncode == 0
            made.start_node(name)
        made.until(n1="up", n2="up")
        for name in ("controller", "n1"):
            shutil.copytree(made.folder / name, made.folder / "kept" / name, ignore=shutil.ignore_patterns("*.sock", "pool", "nats-server"))
        yield made
    finally:
        made.stop()


def trusts(port: int, ca: Path, shown: Path | None, name: str, *, nats: bool = False) -> bool:
    """Whether both ends take each other: a byte is waited for, as TLS 1.3's client has ended its handshake before it is refused.

    nats: the server says INFO before TLS."""
    context = ssl.create_default_context(cafile=ca)
    if shown is not None:
        context.load_cert_chain(shown)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
            while nats and plain.recv(1) != b"\n":
                pass
            with context.wrap_socket(plain, server_hostname=name) as tls:
                tls.settimeout(1)
                try:
                    return tls.recv(1) != b""
                except TimeoutError:
                    return True
    except OSError:
        return False


def test_both_count_while_members_get_certificates_of_the_new_one(machines: Rotated) -> None:
    old = machines.standing()["before"]
    machines.kill("n2")  # one that is away meanwhile
    machines.until(n2="down")
    machines.step("begin")
    assert len(succession.trusted(machines.member("n1").ca.read_bytes())) == 2 and machines.member("n1").authority() == old
    machines.reread()
    machines.step("go")
    eventually(lambda: machines.standing()["old"] == [], "all that are there are signed by the new one")
    found = machines.standing()
    assert found["step"] == "next.pem" and found["away"] == ["n2"] and machines.member("n1").authority() == found["after"] != old
    done = machines.moln("certificates", "rotate", "--status")
    assert done.returncode == 1 and "Away: n2." in done.stdout
    assert "in its place" in machines.moln("certificates").stdout
    assert machines.moln("certificates", "rotate", "--end").returncode == 1 and machines.standing()["step"]  # not while one is away
    assert machines.boot("between", "n1")["status"] == "ACTIVE"


def test_who_was_away_trusts_the_old_one_alone_and_catches_up(machines: Rotated) -> None:
    assert len(succession.trusted(machines.member("n2").ca.read_bytes())) == 1
    machines.start_node("n2")
    machines.until(n2="up")
    eventually(lambda: machines.member("n2").authority() == machines.standing()["after"], "it has a certificate of the new one")
    assert machines.boot("late", "n2")["status"] == "ACTIVE"


def test_a_machine_joins_meanwhile(machines: Rotated) -> None:
    done = machines.join("n3", machines.token())
    assert done.returncode == 0, done.stderr
    assert machines.member("n3").authority() == machines.standing()["after"]
    machines.start_node("n3")
    machines.until(n3="up")


def test_at_the_end_the_old_one_is_refused_everywhere_and_everything_works(machines: Rotated) -> None:
    kept = machines.folder / "kept"
    old_node, old_controller = kept / "n1/host/node/member/member.pem", kept / "controller/tls/controller.pem"
    both = machines.home / "tls/ca.crt"
    gate, nats, streams = machines.port + PORT_AFTER, machines.nats.port, int(machines.member("n1").joined().streams.rpartition(":")[2])  # type: ignore[union-attr]
    ways = ((gate, old_node, member_host("controller")), (nats, old_node, "127.0.0.1"), (streams, old_controller, member_host("node", "n1")))
    for port, shown, name in ways:
        assert trusts(port, both, shown, name, nats=port == nats), (port, name)
    token = machines.token()
    before = machines.connections()
    machines.step("finish")
    machines.reread()
    assert machines.step("spread") == {"missed": []}

    assert machines.standing()["step"] == "" and len(succession.trusted(both.read_bytes())) == 1
    for port, shown, name in ways:
        assert not trusts(port, both, shown, name, nats=port == nats), (port, name)
    assert trusts(machines.port, both, None, "127.0.0.1") is True
    assert not trusts(machines.port, kept / "controller/tls/ca.crt", None, "127.0.0.1")  # the APIs show another one's
    assert machines.connections() == before  # nobody's link was cut
    assert machines.join("n4", token).returncode == 1 and "The token was not sent" in machines.join("n4", token).stderr
    machines.client = type(machines.client)(machines.url, user="admin", password=(machines.home / "admin.password").read_text().strip(),
                                            project="admin", cacert=str(both))  # fmt: skip
    for node in ("n1", "n2", "n3"):
        assert machines.boot(f"after-{node}", node)["status"] == "ACTIVE"


def test_what_the_old_authority_signs_now_is_worth_nothing(machines: Rotated) -> None:
    """Whoever has its key makes himself certificates at will."""
    now = datetime.now(UTC)
    old = certificates.Authority(machines.folder / "kept/controller/tls", now)
    forged = old.ensure_member(machines.folder / "kept/forged.pem", "node", "n1", now)
    gate = machines.port + PORT_AFTER
    assert not trusts(gate, machines.home / "tls/ca.crt", forged, member_host("controller"))
    assert not trusts(machines.nats.port, machines.home / "tls/ca.crt", forged, "127.0.0.1", nats=True)
    new = machines.member("n1").certificate  # what is good is taken the same way
    assert trusts(gate, machines.home / "tls/ca.crt", new, member_host("controller"))
    assert trusts(machines.nats.port, machines.home / "tls/ca.crt", new, "127.0.0.1", nats=True)


def test_all_are_there_again_after_everything_was_begun_anew(machines: Rotated) -> None:
    for name in ("n1", "controller"):
        machines.kill(name)
    machines.nats.stop()
    machines.nats.start()
    machines.start_controller()
    machines.start_node("n1")
    machines.until(n1="up", n2="up", n3="up")
    assert machines.found("controllers-trust-one-authority") == []


