"""What a node that joined is put together from: here, the images that it has, tells of and lends."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from moln.host.places import Places
from moln.kernel.clock import Clock
from moln.kernel.errors import BackendRefused
from moln.kernel.http.certificates import Authority, member_host
from moln.kernel.link import Streams, Verbs
from moln.kernel.link.frames import Call, pack
from moln.kernel.link.verbs import MemoryFences
from moln.kernel.nodes.gate import GateClient
from moln.kernel.nodes.joining import FOLDER, Joined, Member
from moln.kernel.nodes.lending import LENT
from moln.kernel.nodes.passport import Passport
from moln.kernel.nodes.requests import Admission
from moln.node.remote import Remote

NAME = "aaaaaaaa-0000-4000-8000-000000000001"
NOW = datetime.now(UTC)


async def test_a_node_that_joined_tells_what_it_has_and_lends_it_to_members_beside_what_else_they_open(tmp_path: Path) -> None:
    authority, key = Authority(tmp_path / "tls", NOW), ec.generate_private_key(ec.SECP256R1())
    places = Places(tmp_path / "n1")
    member = Member(places.host / "node" / FOLDER)
    member.folder.mkdir(parents=True)
    given = authority.sign(key.public_key(), "node", "n1", NOW).public_bytes(Encoding.PEM).decode()
    joined = Joined("n1", "https://127.0.0.1:1", [], "127.0.0.1:0")
    member.keep(key, Admission("n1", given, authority.public.read_text(), "", []), joined)
    remote = Remote(member, joined)
    assert "images" not in remote.facts()
    base = places.pool / "images/base" / NAME
    base.parent.mkdir(parents=True)
    base.write_bytes(b"boots")
    await remote.start(places)
    assert remote.facts()["images"] == [NAME]
    now_us = Clock().now_us
    nothing = Streams({}, MemoryFences(), now_us)

    async def other() -> None:
        raise BackendRefused("another opener heard it")

    serving = remote.serving(nothing, {"other": (other, tuple[()])})
    await serving.start()
    verbs = Verbs(remote.drivers, MemoryFences(), now_us)

    async def told(verb: str) -> object:
        answer = await verbs.answer(Call(1, verb, pack([NAME]), now_us() + 10_000_000))
        return msgspec.msgpack.decode(answer.value)

    assert await told("node-prefetch.state") == "here"
    theirs = authority.ensure_member(tmp_path / "n2.pem", "node", "n2", NOW)
    client = GateClient("127.0.0.1", serving.port, Passport(theirs, authority.public), now_us, member_host("node", "n1"))
    stream = await client.open(LENT, NAME, await told("node-images.lend"))
    assert b"boots" in await stream.reader.read()
    stream.close()
    with pytest.raises(BackendRefused, match="another opener heard it"):
        await client.open("other")
    await serving.stop()
    await remote.stop()
