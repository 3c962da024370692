"""Notifications through a real nats-server: once each, in order, to whoever was admitted, who can do nothing else there."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from tests import databases, notified
from tests.compute.world import World
from tests.kernel.nats_server import NatsServer
from tests.postgres import binaries

from moln.kernel.errors import Invalid, Unavailable
from moln.kernel.link import subjects
from moln.kernel.notifications import tables
from moln.local_consumers import consumers_of

pytestmark = pytest.mark.engines
MEDDLING = ["$JS.API.STREAM.PURGE.NOTIFICATIONS", "$JS.API.STREAM.DELETE.NOTIFICATIONS", "$JS.API.STREAM.UPDATE.NOTIFICATIONS",
            "$JS.API.STREAM.CREATE.OTHER", "$JS.API.STREAM.MSG.GET.NOTIFICATIONS", "$JS.API.CONSUMER.DURABLE.CREATE.NOTIFICATIONS.thief",
            "$JS.API.CONSUMER.CREATE.NOTIFICATIONS", "$JS.API.CONSUMER.DELETE.NOTIFICATIONS.bill", "$JS.API.CONSUMER.MSG.NEXT.NOTIFICATIONS.bill",
            "$JS.ACK.NOTIFICATIONS.bill.1.1.1.1.1", "moln.notifications.compute.instance.create.end", "moln.tell.n1", "moln.call.n1", "moln.who",
            "$SYS.REQ.CLAIMS.UPDATE", "moln.consumer.bill.x", "moln.inbox.c1.x"]  # fmt: skip


class Reader:
    """Somebody outside, with nothing but the files that it was given and nats-py."""

    def __init__(self, given: Any, folder: Path):
        folder.mkdir()
        self.given, self.folder = given, folder
        for name, text in (("creds", given.creds), ("pem", given.certificate), ("ca", given.ca)):
            (folder / name).write_text(text)
        self.errors: list[str] = []
        self.ended = asyncio.Event()

    async def connect(self) -> Reader:
        async def note(error: Exception) -> None:
            self.errors.append(str(error))

        async def end() -> None:
            self.ended.set()

        tls = ssl.create_default_context(cafile=str(self.folder / "ca"))
        tls.load_cert_chain(self.folder / "pem")
        self.client = await nats.connect(self.given.urls[0], tls=tls, user_credentials=str(self.folder / "creds"), inbox_prefix=self.given.inbox.encode(),
                                         allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0, error_cb=note, closed_cb=end)  # fmt: skip
        return self

    async def read(self, count: int) -> list[dict[str, Any]]:
        taking = await self.client.jetstream().pull_subscribe_bind(self.given.name, stream=self.given.stream)
        found: list[dict[str, Any]] = []
        while len(found) < count:
            for message in await taking.fetch(count - len(found), timeout=10):
                found.append(json.loads(message.data))
                await message.ack_sync()
        return found

    async def refused(self, count: int) -> list[str]:
        await self.client.flush()
        async with asyncio.timeout(20):
            while len(self.errors) < count:
                await asyncio.sleep(0.01)
        return self.errors


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    made = NatsServer(tmp_path, notifications=True)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
async def world(tmp_path: Path, furnished: Any, server: NatsServer) -> AsyncIterator[World]:
    async with notified.cloud(tmp_path, "sqlite", furnished, server.urls) as made:
        yield made


async def test_each_is_heard_once_and_in_order_whatever_happens_to_nats_and_the_publisher(world: World, server: NatsServer, tmp_path: Path) -> None:
    consumers, notices = consumers_of(world.api.app), world.api.app.notices
    with pytest.raises(Invalid):
        await consumers.admit("no.dots", 3600)
    bill = await Reader(await consumers.admit("bill", 3600), tmp_path / "b").connect()
    await notified.forget(world)
    for n in range(3):
        await world.neutron("POST", "/networks", {"network": {"name": f"n{n}"}})
    expected = await notified.waiting(world)
    await world.settle()
    assert await notified.waiting(world) == [] and notices.published == len(expected) > 2
    assert await bill.read(len(expected)) == expected
    # Published, but the publisher died before it had forgotten them: the server knows them.
    repeated = [tables.Waiting(each["message_id"], f"moln.notifications.network.{each['event_type']}", json.dumps(each)) for each in expected]
    await world.neutron("POST", "/networks", {"network": {"name": "last"}})
    last = await notified.waiting(world)
    await notified.forget(world)
    for each in [*repeated, tables.Waiting(last[0]["message_id"], "moln.notifications.network.network.create.end", json.dumps(last[0]))]:
        await world.cloud.db.write(lambda tx, row=each: tx.insert(tables.outbox, row))
    await world.settle()
    assert await bill.read(1) == [last[0]]
    # NATS dies: they wait, and go on where they were.
    server.stop()
    await world.neutron("POST", "/networks", {"network": {"name": "meanwhile"}})
    with pytest.raises(Unavailable):
        await notices.carry()
    meanwhile = await notified.waiting(world)
    assert meanwhile
    server.start()
    await notices.carry()
    again = await Reader(bill.given, tmp_path / "again").connect()
    seen = {each["message_id"] for each in [*expected, *last]}  # a server that was killed may have forgotten what was acknowledged
    heard: list[dict[str, Any]] = []
    while len(heard) < len(meanwhile):
        heard += [each for each in await again.read(1) if each["message_id"] not in seen]
    assert heard == meanwhile
    await bill.client.close()
    await again.client.close()


async def test_a_consumer_reads_and_can_do_nothing_else(world: World, server: NatsServer, tmp_path: Path) -> None:
    consumers, notices = consumers_of(world.api.app), world.api.app.notices
    thief = await Reader(await consumers.admit("thief", 3600), tmp_path / "t").connect()
    bill = await Reader(await consumers.admit("bill", 3600), tmp_path / "b").connect()
    heard: list[str] = []

    async def note(message: Any) -> None:
        heard.append(message.subject)

    elsewhere = [">", "moln.>", "moln.notifications.>", "moln.call.*", "moln.tell.*", "moln.answer.>", "moln.who", "moln.consumer.bill.>", "moln.inbox.>",
                 "$JS.>", "$SYS.>", "_INBOX.>"]  # fmt: skip
    for subject in elsewhere:
        await thief.client.subscribe(subject, cb=note)
    said = await thief.refused(len(elsewhere))
    assert len(said) == len(elsewhere) and all("permissions violation for subscription" in error for error in said), said
    thief.errors.clear()
    for subject in MEDDLING:
        await thief.client.publish(subject, b"")
    said = await thief.refused(len(MEDDLING))
    assert len(said) == len(MEDDLING) and all("permissions violation for publish" in error for error in said), said
    # A request's answer goes where the request says, with the server's own permission: it must not change the stream, nor what others read.
    await notified.forget(world)
    for n in range(4):
        await world.neutron("POST", "/networks", {"network": {"name": f"n{n}"}})
    expected = await notified.waiting(world)
    await world.settle()
    ask = "$JS.API.CONSUMER.MSG.NEXT.NOTIFICATIONS.thief"
    for reply in ("$JS.API.STREAM.PURGE.NOTIFICATIONS", "$JS.API.STREAM.DELETE.NOTIFICATIONS", "$JS.API.CONSUMER.DELETE.NOTIFICATIONS.bill",
                  "moln.notifications.compute.forged"):  # fmt: skip
        await thief.client.publish(ask, b"1", reply=reply)
    await thief.client.flush()
    assert await bill.read(len(expected)) == expected
    held = await (await notices.connected()).jetstream().stream_info(subjects.STREAM)
    assert held.state.messages == len(expected) and held.state.last_seq == len(expected)
    assert heard == []
    # A node hears nothing of it, and its key opens nothing there: it is of another account.
    await server.tell_account()
    node = await server.connect(server.badge("node", "n1"))
    await node.publish("$JS.API.CONSUMER.MSG.NEXT.NOTIFICATIONS.bill", b"1")
    await node.flush()
    async with asyncio.timeout(20):
        while not node.errors:
            await asyncio.sleep(0.01)
    assert "permissions violation for publish" in str(node.errors[0])
    await node.close()
    # Its certificate proves nothing to whoever takes the cloud's own: gate, nodes, OVN.
    shown = x509.load_pem_x509_certificate(thief.given.certificate.encode())
    with pytest.raises((InvalidSignature, ValueError)):
        shown.verify_directly_issued_by(x509.load_pem_x509_certificate(server.ca.public.read_bytes()))
    await consumers.remove("thief")
    await asyncio.wait_for(thief.ended.wait(), 10)
    with pytest.raises((nats.errors.Error, OSError)):
        await Reader(thief.given, tmp_path / "t2").connect()
    assert [c.name for c in await consumers.all()] == ["bill"]
    await bill.client.close()


async def test_at_most_a_consumer_has_one_repeated_as_it_was(world: World, tmp_path: Path) -> None:
    """Into the stream, by a reply: its subject and content stay, and by its id the server knows it (this one was published without)."""
    thief = await Reader(await consumers_of(world.api.app).admit("thief", 3600), tmp_path / "t").connect()
    stream = (await world.api.app.notices.connected()).jetstream()
    await stream.publish("moln.notifications.network.x", b"{}")
    await thief.client.publish("$JS.API.CONSUMER.MSG.NEXT.NOTIFICATIONS.thief", b"1", reply="moln.notifications.compute.forged")
    await thief.client.flush()
    async with asyncio.timeout(20):
        while (await stream.consumer_info(subjects.STREAM, "thief")).delivered.stream_seq < 1:
            await asyncio.sleep(0.01)
    for number in range(1, (await stream.stream_info(subjects.STREAM)).state.last_seq + 1):
        held = await stream.get_msg(subjects.STREAM, number)
        assert (held.subject, held.data) == ("moln.notifications.network.x", b"{}")
    await thief.client.close()


async def test_the_credentials_are_of_the_form_that_clients_read(world: World) -> None:
    given = await consumers_of(world.api.app).admit("form", 3600)
    claims = given.creds.split("-----BEGIN NATS USER JWT-----\n")[1].split("\n")[0]
    said = json.loads(base64.urlsafe_b64decode(claims.split(".")[1] + "=="))
    assert said["nats"]["sub"]["allow"] == ["moln.consumer.form.>"] and len(said["nats"]["pub"]["allow"]) == 3
    assert given.creds.split("-----BEGIN USER NKEY SEED-----\n")[1][:2] == "SU"


@pytest.mark.skipif(binaries() is None, reason="no PostgreSQL here: Debian's package is `postgresql`")
async def test_of_two_controllers_one_carries_each_and_when_it_ends_the_other_does(tmp_path: Path) -> None:
    databases.chosen.kind = "postgresql"
    first, second = tmp_path / "c1", tmp_path / "c2"
    first.mkdir()
    server = NatsServer(first, notifications=True)
    try:
        server.start()
        async with contextlib.AsyncExitStack() as lasting:
            leaving = contextlib.AsyncExitStack()
            one = await leaving.enter_async_context(notified.controller(first, "c1", await databases.url(first), server.urls))
            shutil.copytree(first, second, ignore=shutil.ignore_patterns("run", "nats-server", "log"))
            two = await lasting.enter_async_context(notified.controller(second, "c2", await databases.url(first), server.urls))
            bill = await Reader(await consumers_of(one.app).admit("bill", 3600), tmp_path / "b").connect()
            for n in range(10):
                made = await (one, two)[n % 2].admin.post("/network/v2.0/networks", json={"network": {"name": f"n{n}"}})
                assert made.status_code == 201, made.text
            assert sorted(await named(bill, 10)) == [f"n{n}" for n in range(10)]
            await leaving.aclose()
            assert (await two.admin.post("/network/v2.0/networks", json={"network": {"name": "after"}})).status_code == 201
            assert await named(bill, 1) == ["after"]
            stream = (await two.app.notices.connected()).jetstream()
            count = (await stream.stream_info(subjects.STREAM)).state.last_seq
            held = [json.loads((await stream.get_msg(subjects.STREAM, number)).data)["message_id"] for number in range(1, count + 1)]
            assert len(set(held)) == count  # nobody is told anything twice
            await bill.client.close()
    finally:
        server.stop()
        databases.chosen.kind = databases.ALWAYS


async def named(reader: Reader, count: int) -> list[str]:
    """The names of so many networks that were made."""
    found: list[str] = []
    while len(found) < count:
        found += [e["payload"]["versioned_object.data"]["network"]["name"] for e in await reader.read(1) if e["event_type"] == "network.create.end"]
    return found
