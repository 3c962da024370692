"""One authority takes the place of another, a file at a time; whoever dies in between goes on where it was."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from moln.kernel.errors import Invalid
from moln.kernel.http import certificates, succession
from moln.kernel.http.certificates import COMING, NEXT, Authority, member_host
from moln.kernel.nodes.joining import Joined, Member
from moln.kernel.nodes.passport import Passport
from moln.kernel.nodes.requests import Admission

NOW = datetime.now(UTC)


def by(folder: Path, certificate: x509.Certificate) -> str:
    return succession.issuer(certificate, (folder / "ca.crt").read_bytes())


def signed(folder: Path) -> tuple[str, str]:
    """Who signs members now, and who signs servers."""
    authority = Authority(folder, NOW)
    member = authority.sign(ec.generate_private_key(ec.SECP256R1()).public_key(), "node", "n1", NOW)
    _, server = certificates.read(authority.ensure_server(folder / "server.pem", frozenset({"x"}), NOW))
    assert server is not None
    return by(folder, member), by(folder, server)


def test_it_is_trusted_then_signs_members_then_everything(tmp_path: Path) -> None:
    old = Authority(tmp_path, NOW).fingerprint
    assert succession.step(tmp_path) == "" and succession.newest(tmp_path) == old
    for _ in range(2):  # again is once
        succession.begin(tmp_path, NOW)
    new = succession.newest(tmp_path)
    trusted = [succession.fingerprint(ca) for ca in succession.trusted((tmp_path / "ca.crt").read_bytes())]
    assert succession.step(tmp_path) == COMING and trusted == [old, new] and signed(tmp_path) == (old, old)
    for _ in range(2):
        succession.go(tmp_path)
    assert succession.step(tmp_path) == NEXT and signed(tmp_path) == (new, old)
    for _ in range(2):
        succession.finish(tmp_path, NOW)
    assert succession.step(tmp_path) == "" and signed(tmp_path) == (new, new)
    assert [succession.fingerprint(ca) for ca in succession.trusted((tmp_path / "ca.crt").read_bytes())] == [new]


def test_a_member_of_the_old_one_is_renewed_when_the_new_one_signs_and_not_before(tmp_path: Path) -> None:
    file = tmp_path / "member.pem"

    def serial() -> int:
        _, found = certificates.read(Authority(tmp_path, NOW).ensure_member(file, "controller", "c1", NOW))
        assert found is not None
        return found.serial_number

    first = serial()
    succession.begin(tmp_path, NOW)
    assert serial() == first
    succession.go(tmp_path)
    second = serial()
    assert second != first
    succession.finish(tmp_path, NOW)
    assert serial() == second


def test_servers_that_ask_each_other_show_the_new_one_before_the_old_one_ends(tmp_path: Path) -> None:
    """Whoever trusts it alone at the end meets no other: they are known by members alone, who trusted both before."""
    file, names = tmp_path / "etcd.pem", frozenset({"192.0.2.1", "db.example"})

    def shown() -> tuple[str, int]:
        authority = Authority(tmp_path, NOW)
        authority.renew_server(file, NOW, asks=True)
        _, found = certificates.read(authority.ensure_server(file, names, NOW, asks=True))
        assert found is not None and set(certificates.names(found)) == names
        return by(tmp_path, found), found.serial_number

    Authority(tmp_path, NOW).renew_server(file, NOW, asks=True)
    assert not file.exists(), "nothing shows it here"
    old, first = shown()
    succession.begin(tmp_path, NOW)
    assert shown() == (old, first), "others do not trust the new one yet"
    succession.go(tmp_path)
    new, second = shown()
    assert new == succession.newest(tmp_path) != old
    succession.finish(tmp_path, NOW)
    assert shown() == (new, second)


def test_what_stands_beside_the_authority_that_was_named_is_not_taken(tmp_path: Path) -> None:
    """Somebody in between answers with the true one, which is no secret, and his own."""
    true, own = Authority(tmp_path / "true", NOW), Authority(tmp_path / "own", NOW)
    for body in (true.public.read_bytes() + own.public.read_bytes(), own.public.read_bytes() + true.public.read_bytes()):
        assert succession.named(body, true.fingerprint).encode() == true.public.read_bytes()
    assert succession.named(own.public.read_bytes(), true.fingerprint) == "" == succession.named(b"nothing", true.fingerprint)


def joined(folder: Path, authority: Authority) -> Member:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = authority.sign(key.public_key(), "node", "n1", NOW).public_bytes(Encoding.PEM).decode()
    folder.mkdir()
    member = Member(folder)
    member.keep(key, Admission("n1", pem, authority.public.read_text(), "claims", []), Joined("n1", "https://x", [], "x:1"))
    return member


def test_a_node_trusts_what_it_is_told_unless_it_would_be_nobody_then(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours", NOW), Authority(tmp_path / "theirs", NOW)
    member = joined(tmp_path / "node", ours)
    both = ours.public.read_text() + theirs.public.read_text()
    for bad in (theirs.public.read_text(), "", "nothing"):
        with pytest.raises(Invalid, match="of none of these"):
            member.trust(bad)
    assert member.trust(both) is False and member.ca.read_text() == both
    assert member.trust(ours.public.read_text()) is True
    assert member.authority() == ours.fingerprint


class Raced(Passport):
    """Another process may change the files just after they were read. then: what `ca` is by then."""

    then = b""

    def _made(self) -> ssl.SSLContext:
        made, then = super()._made(), self.then
        if then:
            self.then = b""
            certificates.put(self.ca, then)
        return made


async def test_a_server_that_runs_forgets_whom_it_trusted(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours", NOW), Authority(tmp_path / "theirs", NOW)
    ca = tmp_path / "ca.crt"
    shown = {name: authority.ensure_member(tmp_path / f"{name}.pem", "node", name, NOW) for name, authority in (("a", ours), ("b", theirs))}
    passport = Raced(ours.ensure_member(tmp_path / "server.pem", "controller", "c1", NOW), ca)
    certificates.put(ca, ours.public.read_bytes())

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=passport.server())
    port = server.sockets[0].getsockname()[1]

    async def let_in(name: str) -> bool:
        context = ssl.create_default_context(cafile=ours.public)
        context.load_cert_chain(shown[name])
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=member_host("controller"))
            found = await reader.read()
            writer.close()
        except OSError:
            return False
        return found == b"x"

    async with server:
        assert [await let_in(name) for name in shown] == [True, False]
        certificates.put(ca, ours.public.read_bytes() + theirs.public.read_bytes())
        assert [await let_in(name) for name in shown] == [True, True]
        passport.then = theirs.public.read_bytes()
        certificates.put(ca, ours.public.read_bytes())
        assert await let_in("a"), "as they were when they were read"
        assert [await let_in(name) for name in shown] == [False, True]
        certificates.put(ca, b"half")  # what cannot be read changes nothing
        assert [await let_in(name) for name in shown] == [False, True]
