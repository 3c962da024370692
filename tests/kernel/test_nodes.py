"""Machines join with a token, once; what proves them is theirs alone, is renewed in time, and is worth nothing once they are removed."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import falcon.asgi
import httpx
import msgspec
import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from tests import databases

from moln.kernel.clock import Clock
from moln.kernel.db import Query
from moln.kernel.errors import BackendRefused, Conflict, Forbidden, Invalid, NotFound
from moln.kernel.http.certificates import member_of
from moln.kernel.link.leases import DatabaseLeases
from moln.kernel.link.nats_keys import ACCOUNT, USER, NatsKey, is_name, name_of, verified
from moln.kernel.nodes import joining, tables
from moln.kernel.nodes.enrolment import BURST, AuthorityResource, EnrolmentResource
from moln.kernel.nodes.joining import Joined, Member
from moln.kernel.nodes.membership import BAD_TOKEN, Membership
from moln.kernel.nodes.renewing import RENEWAL, Renewing
from moln.kernel.nodes.requests import Enrolment

NOBODY: frozenset[str] = frozenset()
SECOND_US = 1_000_000


class Late(Clock):
    """The real time, and as much later as a test says."""

    late_s = 0.0

    def now_us(self) -> int:
        return super().now_us() + int(self.late_s * SECOND_US)

    def monotonic(self) -> float:  # type: ignore[override]
        return self.late_s


class Machine:
    """Wants to be a node: its keys, and what it asks."""

    def __init__(self, name: str):
        self.name = name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.nats_key = NatsKey(USER)

    def asks(self, token: str, **other: Any) -> Enrolment:
        csr = joining.request(self.key, self.name)
        asked = Enrolment(token, self.name, csr, self.nats_key.name, base64.b64encode(self.nats_key.sign(csr.encode())).decode())
        return msgspec.structs.replace(asked, **other)


@pytest.fixture
async def clock() -> Late:
    return Late()


async def where() -> tuple[list[str], str]:
    """Where NATS and the southbound database are."""
    return ["tls://192.0.2.1:4222"], ""


async def opened(home: Path, clock: Late) -> Membership:
    made = Membership(home, await databases.opened(home, clock), clock, where)
    await made.load()
    return made


@pytest.fixture
async def members(tmp_path: Path, clock: Late) -> AsyncIterator[Membership]:
    made = await opened(tmp_path, clock)
    yield made
    await made._db.close()


@pytest.fixture
async def stored(tmp_path: Path, clock: Late, database: str) -> AsyncIterator[Membership]:
    """The same on each database."""
    made = await opened(tmp_path, clock)
    yield made
    await made._db.close()


async def test_a_machine_with_a_token_becomes_a_node(stored: Membership) -> None:
    machine, token = Machine("n1"), await stored.make_token()
    assert token.endswith("." + stored.authority.fingerprint)
    admission = await stored.enrol(machine.asks(token), NOBODY)
    given = x509.load_pem_x509_certificate(admission.certificate.encode())
    given.verify_directly_issued_by(stored.authority.certificate)
    assert member_of(given) == ("node", "n1") and given.public_key() == machine.key.public_key()
    assert admission.nats == ["tls://192.0.2.1:4222"]
    assert stored.admits("n1", given.serial_number) and not stored.admits("n2", 0)
    claims = json.loads(base64.urlsafe_b64decode(admission.claims.split(".")[1] + "=="))
    assert (claims["sub"], claims["exp"]) == (machine.nats_key.name, int(given.not_valid_after_utc.timestamp()))
    assert claims["nats"]["sub"]["allow"] == ["moln.call.n1", "moln.who"]


async def test_a_token_is_for_one_machine(stored: Membership) -> None:
    token = await stored.make_token()
    await stored.enrol(Machine("n1").asks(token), NOBODY)
    with pytest.raises(Forbidden):
        await stored.enrol(Machine("n2").asks(token), NOBODY)


async def test_of_two_at_once_with_one_token_one_joins(stored: Membership) -> None:
    token = await stored.make_token()
    done = await asyncio.gather(*(stored.enrol(Machine(f"n{i}").asks(token), NOBODY) for i in range(5)), return_exceptions=True)
    assert sum(isinstance(one, Forbidden) for one in done) == 4
    assert len(stored.members) == 1


async def test_an_answer_that_was_lost_is_given_again_to_the_same_machine(stored: Membership) -> None:
    machine, token = Machine("n1"), await stored.make_token()
    await stored.enrol(machine.asks(token), NOBODY)
    await stored.enrol(machine.asks(token), NOBODY)
    thief = Machine("n1")
    with pytest.raises(Forbidden):
        await stored.enrol(thief.asks(token), NOBODY)


async def test_every_bad_token_is_refused_in_the_same_words(stored: Membership, clock: Late) -> None:
    used, old = await stored.make_token(), await stored.make_token(60)
    await stored.enrol(Machine("n1").asks(used), NOBODY)
    clock.late_s = 61
    for token in (used, old, "nonsense", "", used[1:], "x" * 5000):
        with pytest.raises(Forbidden) as refused:
            await stored.enrol(Machine("n2").asks(token), NOBODY)
        assert refused.value.message == BAD_TOKEN


async def test_no_token_is_kept(stored: Membership) -> None:
    token = await stored.make_token()
    kept = await stored._db.all(Query(sa.select(tables.tokens), dict))
    assert len(kept) == 1 and token.partition(".")[0] not in str(kept)


@pytest.mark.parametrize("seconds", [0, 59, -1, 31 * 24 * 3600])
async def test_a_token_has_a_bounded_life(members: Membership, seconds: int) -> None:
    with pytest.raises(Invalid):
        await members.make_token(seconds)


async def test_a_name_that_is_taken_leaves_the_token_as_it_was(stored: Membership) -> None:
    await stored.enrol(Machine("n1").asks(await stored.make_token()), NOBODY)
    token = await stored.make_token()
    with pytest.raises(Conflict, match="moln node remove n1"):
        await stored.enrol(Machine("n1").asks(token), NOBODY)
    with pytest.raises(Conflict):
        await stored.enrol(Machine("own").asks(token), frozenset({"own"}))  # the controller's own machine
    await stored.enrol(Machine("n2").asks(token), NOBODY)


@pytest.mark.parametrize("name", ["", "-a", "a/b", "a b", "a" * 65, "å", "a\n", "*", ".", "a:b"])
async def test_names_that_could_mean_something_are_refused(members: Membership, name: str) -> None:
    token = await members.make_token()
    with pytest.raises(Invalid, match="name"):
        await members.enrol(Machine("n1").asks(token, name=name), NOBODY)


def _signed_by(key: Any) -> str:
    return joining.request(key, "n1")


BAD_REQUESTS: list[Callable[[Machine], dict[str, Any]]] = [
    lambda m: {"csr": ""},
    lambda m: {"csr": "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"},
    lambda m: {"csr": _signed_by(rsa.generate_private_key(65537, 2048))},
    lambda m: {"csr": _signed_by(ec.generate_private_key(ec.SECP384R1()))},
    lambda m: {"nats_key": NatsKey(USER).name},
    lambda m: {"nats_key": NatsKey(ACCOUNT).name},
    lambda m: {"nats_key": "U" * 56},
    lambda m: {"nats_proof": "!"},
    lambda m: {"nats_proof": base64.b64encode(b"x" * 64).decode()},
    lambda m: {"csr": joining.request(ec.generate_private_key(ec.SECP256R1()), "n1")},  # not what the NATS key signed
]


@pytest.mark.parametrize("bad", BAD_REQUESTS)
async def test_what_proves_nothing_is_refused_and_leaves_the_token_good(members: Membership, bad: Callable[[Machine], dict[str, Any]]) -> None:
    machine, token = Machine("n1"), await members.make_token()
    with pytest.raises(Invalid):
        await members.enrol(machine.asks(token, **bad(machine)), NOBODY)
    await members.enrol(machine.asks(token), NOBODY)


async def test_a_removed_node_is_refused_whatever_it_shows(stored: Membership) -> None:
    machine = Machine("n1")
    given = x509.load_pem_x509_certificate((await stored.enrol(machine.asks(await stored.make_token()), NOBODY)).certificate.encode())
    stored.stale = False
    await stored.remove("n1")
    assert stored.stale and not stored.admits("n1", given.serial_number) and not stored.admits("n1", 0)
    assert list(stored.revoked()) == [machine.nats_key.name]
    with pytest.raises(NotFound):
        await stored.renew("n1", joining.request(machine.key, "n1"))
    with pytest.raises(NotFound):
        await stored.remove("n1")
    await stored.enrol(Machine("n1").asks(await stored.make_token()), NOBODY)
    assert stored.admits("n1", 0) and not stored.admits("n1", given.serial_number)


async def test_who_is_removed_stays_so_for_another_controller_and_after_a_start(stored: Membership, tmp_path: Path, clock: Late) -> None:
    await stored.enrol(Machine("n1").asks(await stored.make_token()), NOBODY)
    await stored.remove("n1")
    other = Membership(tmp_path, stored._db, clock, where)
    await other.load()
    assert not other.admits("n1", 0) and other.revoked() == stored.revoked()
    assert other.authority.fingerprint == stored.authority.fingerprint


async def test_what_has_expired_is_forgotten(stored: Membership, clock: Late) -> None:
    await stored.enrol(Machine("n1").asks(await stored.make_token()), NOBODY)
    await stored.remove("n1")
    clock.late_s = 100 * 24 * 3600
    await stored.forget()
    assert stored.revoked() == {} and stored.members == []


async def test_a_lease_is_only_ever_prolonged_until_it_is_ended(stored: Membership) -> None:
    leases = DatabaseLeases(stored._db)
    assert await leases.ends_us("n1") == 0
    await leases.renew({"n1", "n2"}, 2_000)
    await leases.renew({"n1", "n3"}, 1_000)  # another controller's, late
    assert [await leases.ends_us(node) for node in ("n1", "n2", "n3")] == [2_000, 2_000, 1_000]
    await leases.renew({"n1"}, 3_000)
    await leases.end("n2")
    assert [await leases.ends_us(node) for node in ("n1", "n2")] == [3_000, 0]


async def test_no_token_is_good_when_all_are_ended(members: Membership) -> None:
    token = await members.make_token()
    await members.end_tokens()
    with pytest.raises(Forbidden):
        await members.enrol(Machine("n1").asks(token), NOBODY)
    await members.enrol(Machine("n1").asks(await members.make_token()), NOBODY)


@pytest.fixture
async def client(members: Membership, clock: Late) -> AsyncIterator[httpx.AsyncClient]:
    app: Any = falcon.asgi.App()
    app.add_route("/nodes/enrolment", EnrolmentResource(members, clock, lambda: NOBODY))
    app.add_route("/nodes/ca.crt", AuthorityResource(members))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="https://x") as made:
        yield made


async def test_the_endpoint_admits_and_refuses_in_words(client: httpx.AsyncClient, members: Membership) -> None:
    assert (await client.get("/nodes/ca.crt")).content == members.authority.public.read_bytes()
    asked = msgspec.to_builtins(Machine("n1").asks(await members.make_token()))
    assert (await client.post("/nodes/enrolment", json={**asked, "token": "x.y"})).json() == {"error": {"code": 403, "message": BAD_TOKEN}}
    answer = await client.post("/nodes/enrolment", json=asked)
    assert answer.status_code == 201 and answer.json()["name"] == "n1"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"token": 1}', b"\xff", b'{"token": "' + b"x" * 20_000 + b'"}'])
async def test_what_is_no_request_is_the_callers_fault(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/nodes/enrolment", content=body)
    assert answer.status_code in (400, 413) and answer.json()["error"]["message"]


async def test_who_tries_too_often_has_to_wait(client: httpx.AsyncClient, members: Membership, clock: Late) -> None:
    asked = msgspec.to_builtins(Machine("n1").asks(await members.make_token()))
    for _ in range(BURST):
        assert (await client.post("/nodes/enrolment", json={**asked, "token": "x.y"})).status_code == 403
    answer = await client.post("/nodes/enrolment", json=asked)
    assert answer.status_code == 429 and int(answer.headers["Retry-After"]) > 0
    clock.late_s += int(answer.headers["Retry-After"])
    assert (await client.post("/nodes/enrolment", json=asked)).status_code == 201


class Joint:
    """A node that joined, and the controller that it asks to be renewed."""

    def __init__(self, members: Membership, member: Member):
        self.members = members
        self.asked: list[str] = []
        self.renewing = Renewing(member, "n1", self.tell)

    def tell(self, topic: str, csr: str) -> bool:
        assert topic == RENEWAL
        self.asked.append(csr)
        return True


async def joined(members: Membership, folder: Path) -> Member:
    machine, member = Machine("n1"), Member(folder)
    folder.mkdir()
    admission = await members.enrol(machine.asks(await members.make_token()), NOBODY)
    member.keep(machine.key, admission, Joined("n1", "https://x", admission.nats, "192.0.2.2:5010"))
    return member


async def test_a_node_renews_its_certificate_before_it_ends(members: Membership, tmp_path: Path) -> None:
    member = await joined(members, tmp_path / "member")
    joint = Joint(members, member)
    assert not await joint.renewing.ask_if_due() and joint.asked == []
    joint.renewing._spare = timedelta(days=1000)
    before = member.certificate.read_bytes()
    server = member.passport.server()
    assert await joint.renewing.ask_if_due()
    admission = await members.renew("n1", joint.asked[0])
    await joint.renewing.admit(admission.certificate, admission.claims)
    after = member.certificate.read_bytes()
    assert after != before and member.claims() == admission.claims
    assert len({x509.load_pem_x509_certificate(raw).serial_number for raw in (before, after)}) == 2
    assert all(members.admits("n1", x509.load_pem_x509_certificate(raw).serial_number) for raw in (before, after))
    assert len(members.members) == 1 and server.get_ca_certs()
    await members.remove("n1")
    assert not any(members.admits("n1", x509.load_pem_x509_certificate(raw).serial_number) for raw in (before, after))


async def test_a_certificate_that_was_not_asked_for_or_is_another_nodes_changes_nothing(members: Membership, tmp_path: Path) -> None:
    member = await joined(members, tmp_path / "member")
    joint = Joint(members, member)
    joint.renewing._spare = timedelta(days=1000)
    before = member.certificate.read_bytes()
    other = await members.enrol(Machine("n2").asks(await members.make_token()), NOBODY)
    with pytest.raises(BackendRefused, match="asked for"):
        await joint.renewing.admit(other.certificate, other.claims)
    await joint.renewing.ask_if_due()
    with pytest.raises(BackendRefused, match="not this node's"):
        await joint.renewing.admit(other.certificate, other.claims)
    assert member.certificate.read_bytes() == before


async def test_a_node_that_was_told_twice_takes_the_first_answer_and_no_second(members: Membership, tmp_path: Path) -> None:
    member = await joined(members, tmp_path / "member")
    joint = Joint(members, member)
    first, second = [await members.renew("n1", await joint.renewing.request()) for _ in range(2)]
    await joint.renewing.admit(first.certificate, first.claims)
    await joint.renewing.claim("others")
    after = member.certificate.read_bytes()
    with pytest.raises(BackendRefused, match="asked for"):
        await joint.renewing.admit(second.certificate, second.claims)
    assert member.certificate.read_bytes() == after and member.claims() == "others"


def test_keys_are_named_as_nats_names_them() -> None:
    """The example of NATS's own documentation (nkeys)."""
    seed = base64.b32decode("SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY" + "======")[2:34]
    key = NatsKey(USER, ed25519.Ed25519PrivateKey.from_private_bytes(seed))
    assert key.name == "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
    assert is_name(USER, key.name) and not is_name(ACCOUNT, key.name)
    assert not is_name(USER, key.name[:-1] + "A") and not is_name(USER, "") and not is_name(USER, "ä")
    assert verified(key.name, b"x", key.sign(b"x")) and not verified(key.name, b"y", key.sign(b"x"))
    assert name_of(ACCOUNT, b"\0" * 32).startswith("A")
