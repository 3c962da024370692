"""Over NATS: who may hear and say what, with a real server; what a lost server, node or controller costs."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from tests.kernel.nats_server import NatsServer
from tests.kernel.test_link import NOW, NatsPair, PotDriver, Shape

from moln.kernel.db.sqlite import SqliteDatabase
from moln.kernel.errors import BackendUnreachable
from moln.kernel.link import nats_wire, subjects
from moln.kernel.link.frames import Hello, Report, encode, pack
from moln.kernel.link.leases import DatabaseLeases
from moln.kernel.link.nats_keys import USER, NatsKey
from moln.kernel.link.nats_wire import Badge

pytestmark = pytest.mark.engines
BOUND = 1 << 20


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    made = NatsServer(tmp_path)
    try:
        made.start()
        await made.tell_account()
        yield made
    finally:
        made.stop()


@pytest.fixture
async def pair(server: NatsServer, tmp_path: Path) -> AsyncIterator[NatsPair]:
    db = SqliteDatabase(tmp_path / "cloud.db")
    made = NatsPair(tmp_path, server, DatabaseLeases(db))
    await made.start()
    yield made
    await made.stop()
    await db.close()


async def refused(client: Any, count: int) -> list[str]:
    """What the server has refused: so many, told one after the other."""
    await client.flush()
    async with asyncio.timeout(20):
        while len(client.errors) < count:
            await asyncio.sleep(0.01)
    return [str(error) for error in client.errors]


async def test_a_node_can_neither_hear_nor_speak_for_another(pair: NatsPair, server: NatsServer) -> None:
    """node A's credentials, in hands that do with them whatever the protocol allows."""
    thief = await server.connect(server.badge("node", "a"))
    heard: list[str] = []

    async def note(message: Any) -> None:
        heard.append(message.subject)

    elsewhere = [subjects.call("n1"), "moln.call.*", "moln.>", ">", "*.*.*", subjects.tell("n1"), "moln.tell.*", subjects.answers("c1"),
                 "moln.answer.>", "_INBOX.>", "moln.inbox.>", "$SYS.>", "$JS.>", "$SYS.REQ.USER.INFO"]  # fmt: skip
    for subject in elsewhere:
        await thief.subscribe(subject, cb=note)
    said = await refused(thief, len(elsewhere))
    assert len(said) == len(elsewhere) and all("permissions violation for subscription" in error for error in said), said
    thief.errors.clear()
    report, hello = encode(Report("pot.power", pack("off")), BOUND), encode(Hello("n1", {}, "x"), BOUND)
    forged = [(subjects.tell("n1"), report), (subjects.tell("n1"), hello), (subjects.answer("n1", "c1", 1), b""), (subjects.call("n1"), b""),
              (subjects.call("a"), b""), (subjects.WHO, b""), ("$SYS.REQ.CLAIMS.UPDATE", b""), ("$SYS.REQ.SERVER.PING", b""),
              ("moln.inbox.c1.x", b"")]  # fmt: skip
    for subject, data in forged:
        await thief.publish(subject, data)
    said = await refused(thief, len(forged))
    assert len(said) == len(forged) and all("permissions violation for publish" in error for error in said), said
    assert await pair.driver().echo(Shape("a")) == [Shape("a")]  # whatever was sent, n1 answers and its answer is its own
    await thief.flush()
    assert heard == []
    assert [topic for topic, *_ in pair.seen] == ["node.up"]
    await thief.close()


async def test_a_hello_in_another_nodes_name_is_not_believed(pair: NatsPair, server: NatsServer) -> None:
    """On its own subject, where NATS lets it speak; a second hello, of its own, shows that the first was heard."""
    thief = await server.connect(server.badge("node", "a"))
    await thief.publish(subjects.tell("a"), encode(Hello("n1", {"cpus": 0}, "x"), BOUND))
    await thief.publish(subjects.tell("a"), b"no frame")
    await thief.publish(subjects.tell("a"), encode(Hello("a", {}, "y"), BOUND))
    await pair.until("node.up", "node.up")
    assert [(node, value) for _, node, value in pair.seen] == [("n1", {"cpus": 2}), ("a", {})]
    await thief.close()


async def test_a_controller_hears_only_answers_of_its_own(server: NatsServer) -> None:
    client = await server.connect(server.badge("controller", "c2"))
    for subject in (subjects.answers("c1"), "moln.answer.>", "moln.call.*", "$SYS.>"):
        await client.subscribe(subject)
    assert len(await refused(client, 4)) == 4
    await client.close()


async def test_without_a_certificate_the_right_key_or_good_claims_there_is_no_way_in(server: NatsServer, tmp_path: Path) -> None:
    import ssl

    from moln.kernel.http.certificates import Authority
    from moln.kernel.link.nats_authority import NatsAuthority

    good, key, now = server.badge("node", "a"), NatsKey(USER), int(time.time())
    bare = Badge("a", server.urls, lambda: ssl.create_default_context(cafile=server.ca.public), good.key, good.claims)
    other = Authority(tmp_path / "other", server.now)

    def strangers() -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=server.ca.public)
        context.load_cert_chain(other.ensure_member(tmp_path / "stranger.pem", "node", "a", server.now))
        return context

    def api() -> ssl.SSLContext:
        """The certificate of a server is no member's."""
        context = ssl.create_default_context(cafile=server.ca.public)
        context.load_cert_chain(server.ca.ensure_server(tmp_path / "api.pem", frozenset({"a.example"}), server.now))
        return context

    tries = {
        "no certificate": bare,
        "another authority's certificate": Badge("a", server.urls, strangers, good.key, good.claims),
        "a server's certificate": Badge("a", server.urls, api, good.key, good.claims),
        "another's claims": Badge("a", server.urls, good.tls, key, good.claims),
        "expired claims": Badge("a", server.urls, good.tls, key, lambda: server.authority.node("a", key.name, now_s=now - 60, expires_s=now - 1)),
        "claims of another account": Badge("a", server.urls, good.tls, key,
                                           lambda: NatsAuthority(tmp_path / "others").node("a", key.name, now_s=now, expires_s=now + 60)),
        "none": Badge("a", server.urls, good.tls, key, lambda: ""),
    }  # fmt: skip
    for what, badge in tries.items():
        with pytest.raises((nats.errors.Error, OSError, EOFError)):
            await server.connect(badge)
            pytest.fail(what)
    await (await server.connect(good)).close()


async def test_who_is_revoked_is_hung_up_on_at_once_and_stays_out_when_nats_starts_anew(server: NatsServer) -> None:
    first, second = server.badge("node", "a"), server.badge("node", "b")
    one, two = await server.connect(first), await server.connect(second)
    await server.tell_account({first.key.name: int(time.time())})
    await asyncio.wait_for(one.ended.wait(), 10)
    await two.flush()  # nobody else notices
    with pytest.raises(nats.errors.Error):
        await server.connect(first)
    server.stop()
    await asyncio.wait_for(two.ended.wait(), 10)
    server.start()
    with pytest.raises(nats.errors.Error):
        await server.connect(first)
    await (await server.connect(second)).close()


async def test_a_node_that_joins_edits_nothing(server: NatsServer) -> None:
    files = {file: file.read_bytes() for file in server.home.joinpath("nats-server").rglob("*") if file.is_file()}
    await (await server.connect(server.badge("node", "new"))).close()
    assert {file: file.read_bytes() for file in server.home.joinpath("nats-server").rglob("*") if file.is_file()} == files


async def test_while_nats_is_gone_calls_end_at_once_with_the_reason_and_then_go_on(pair: NatsPair, server: NatsServer) -> None:
    call = asyncio.create_task(pair.driver().slow(60))
    await pair.driver().echo(Shape("a"))  # the slow one was sent before
    server.stop()
    async with asyncio.timeout(10):
        with pytest.raises(BackendUnreachable, match="NATS cannot be reached"):
            await call
        with pytest.raises(BackendUnreachable, match="NATS cannot be reached"):
            await pair.driver().echo(Shape("a"))
    assert not pair.node.report("pot.power", "on")
    server.start()
    while [topic for topic, *_ in pair.seen].count("node.up") < 2:
        pair.news.clear()
        await asyncio.wait_for(pair.news.wait(), 20)
    assert await pair.driver(deadline_s=10).echo(Shape("a")) == [Shape("a")]


async def test_a_server_that_falls_silent_is_left_before_its_goodbye_is_over(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_wire, "PING_S", 0.2)
    up, lost = asyncio.Event(), asyncio.Event()
    wire = nats_wire.NatsWire(server.badge("node", "a"), {}, up=up.set, lost=lost.set)
    running = asyncio.create_task(wire.run(0.1))
    await asyncio.wait_for(up.wait(), 10)
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(10):  # asyncio's own patience with TLS is 30 s
            while not lost.is_set():
                with contextlib.suppress(ConnectionError):
                    wire.send(subjects.tell("a"), b"I live")
                await asyncio.sleep(0.05)
    finally:
        server.process.send_signal(signal.SIGCONT)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_call_to_a_node_that_does_not_listen_ends_at_once(pair: NatsPair) -> None:
    pair.task.cancel()
    await asyncio.gather(pair.task, return_exceptions=True)
    began = time.monotonic()
    with pytest.raises(BackendUnreachable, match="not connected"):
        await pair.driver(deadline_s=60).echo(Shape("a"))
    assert time.monotonic() - began < 30


async def test_a_node_without_signs_of_life_is_down_when_its_lease_ends(pair: NatsPair) -> None:
    assert await pair.leases.ends_us("n1") == 0 or await pair.leases.ends_us("n1") > NOW()
    pair.task.cancel()
    await pair.until("node.up", "node.down")
    assert pair.links.nodes == frozenset()
    assert await pair.leases.ends_us("n1") <= NOW()
    with pytest.raises(BackendUnreachable, match="not connected"):
        await pair.driver().echo(Shape("a"))


async def test_a_node_that_another_controller_hears_is_not_given_up(pair: NatsPair) -> None:
    await pair.leases.renew(["n1"], NOW() + 3600 * 10**6)
    pair.task.cancel()
    await asyncio.gather(pair.task, return_exceptions=True)
    peer = pair.links._peers["n1"]
    looked = asyncio.Event()
    ends_us = pair.leases.ends_us

    async def look(node: str) -> int:
        looked.set()
        return await ends_us(node)

    pair.links._leases.ends_us = look  # type: ignore[method-assign]
    await pair.leases.renew(["n1"], NOW() + 3600 * 10**6)
    await asyncio.wait_for(looked.wait(), 20)
    assert pair.links._peers["n1"] is peer


async def test_two_controllers_call_the_same_node_and_each_gets_its_own_answers(pair: NatsPair) -> None:
    other = pair.make_links("c2")
    up = asyncio.Event()

    async def note(node: str, raw: bytes) -> None:
        up.set()

    other.on_report("node.up", note)
    await other.start()
    await asyncio.wait_for(up.wait(), 20)
    driver = other.driver("n1", "pot", PotDriver)
    names = [f"{who}{i}" for i in range(20) for who in "ab"]
    calls = [(pair.driver() if name[0] == "a" else driver).echo(Shape(name)) for name in names]
    assert await asyncio.gather(*calls) == [[Shape(name)] for name in names]
    assert [topic for topic, *_ in pair.seen] == ["node.up"]  # what the second one asked is no news to the first
    await other.close()


async def test_names_that_mean_something_in_subjects_are_names() -> None:
    names = ["a.b", "a*", ">", "a b", "a=2Eb", "ä", "a_b", "A", "a"]
    tokens = [subjects.token(name) for name in names]
    assert len(set(tokens)) == len(names) and not any(set(token) & set(".*> ") for token in tokens)
    assert [subjects.name(token) for token in tokens] == names
