"""Images that nodes lend one another: real TLS and real files, a controller's gate and three nodes in one process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.node.lenders import DISK, NAME, OTHER, Home, Machine

from moln.kernel.clock import Clock
from moln.kernel.errors import BackendRefused, BackendUnreachable
from moln.kernel.http.certificates import member_host
from moln.kernel.nodes import sparse
from moln.kernel.nodes.gate import GateClient
from moln.kernel.nodes.lending import GOOD_S, LENT, Lender, Loan
from moln.node.bases import WithBases
from moln.node.lending import AT_ONCE, PROMISED


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    made = Home(tmp_path)
    with (made.images / NAME).open("wb") as file:
        file.write(os.urandom(700_000))
        file.seek(5 << 20)
        file.write(b"end")
        file.truncate((8 << 20) + 5)
    (made.images / OTHER).write_bytes(b"other" * 1000)
    await made.gate.start()
    yield made
    await made.gate.close()


@pytest.fixture
async def nodes(home: Home) -> AsyncIterator[list[Machine]]:
    """Three, each of which needs NAME; none has it."""
    made = [Machine(home, f"n{n}") for n in (1, 2, 3)]
    for machine in made:
        home.needs.add((machine.name, NAME))
        await machine.join()
    yield made
    for machine in made:
        await machine.bases.stop()
        await machine.server.stop()


async def test_the_first_node_asks_the_controller_and_others_ask_it(home: Home, nodes: list[Machine]) -> None:
    whole = (home.images / NAME).read_bytes()
    for machine in nodes:
        assert await machine.has() == whole
        assert machine.base().stat().st_blocks < (3 << 20) // 512
    assert home.served == [("n1", NAME)]
    assert all(not machine.lending.promises and not machine.lending.lent for machine in nodes[2:])


async def test_a_node_that_comes_back_says_what_it_has(home: Home, nodes: list[Machine]) -> None:
    await nodes[0].has()
    await home.links.leave("n1")
    await nodes[1].has()
    assert home.served == [("n1", NAME), ("n2", NAME)], "nobody lends who is not there"
    await home.links.leave("n2")
    again = Machine(home, "n1")
    await again.join()
    await nodes[2].has()
    assert len(home.served) == 2
    await again.server.stop()


async def test_many_asks_of_many_nodes_fetch_once_each(home: Home, nodes: list[Machine]) -> None:
    await nodes[0].has()
    await asyncio.gather(*(machine.bases.ensure(NAME) for machine in nodes[1:] for _ in range(5)))
    assert home.served == [("n1", NAME)]
    assert not nodes[0].lending.promises, "each opened one"


async def test_a_peer_that_lies_is_not_believed(home: Home, nodes: list[Machine], caplog: pytest.LogCaptureFixture) -> None:
    await nodes[0].has()
    whole = (home.images / NAME).read_bytes()
    for data in (bytes([whole[0] ^ 1]) + whole[1:], whole[:-1], whole + b"\0", whole + bytes(1 << 20) + b"x"):
        nodes[0].base().write_bytes(data)
        assert await nodes[1].has() == whole
        assert home.served.pop() == ("n2", NAME)
        assert "does not come from n1: " in caplog.text
        caplog.clear()
        nodes[1].base().unlink()
    nodes[0].base().write_bytes(whole)  # zeros instead of holes are the same image
    await nodes[1].has()
    assert home.served == [("n1", NAME)]


async def test_the_next_peer_is_asked_when_one_lies(home: Home, nodes: list[Machine]) -> None:
    for machine in nodes[:2]:
        await machine.has()
    nodes[0].base().write_bytes(b"lies")
    home.needs.add(("n3", NAME))
    file = os.open(home.images / NAME, os.O_RDONLY)
    loan = await home.lenders.loan("n3", NAME, file)
    loan = msgspec.structs.replace(loan, lenders=tuple(sorted(loan.lenders, key=lambda lender: lender.node)))
    target = os.open(home.folder / "target", os.O_RDWR | os.O_CREAT)
    assert [lender.node for lender in loan.lenders] == ["n1", "n2"]
    assert nodes[2].bases.borrowing is not None
    assert await nodes[2].bases.borrowing.borrow(NAME, loan, target) == "n2"
    assert await sparse.digest(target) == loan.digest == await sparse.digest(file)
    os.close(file)
    os.close(target)


async def test_a_peer_that_is_gone_costs_nothing_but_the_try(home: Home, nodes: list[Machine]) -> None:
    await nodes[0].has()
    await nodes[0].server.stop()  # its link is there still
    assert await nodes[1].has() == (home.images / NAME).read_bytes()
    assert home.served == [("n1", NAME), ("n2", NAME)]


async def test_a_peer_that_has_it_no_more_or_is_busy_is_not_named(home: Home, nodes: list[Machine]) -> None:
    await nodes[0].has()
    file = os.open(home.images / NAME, os.O_RDONLY)
    nodes[0].lending.lent = AT_ONCE
    assert (await home.lenders.loan("n2", NAME, file)).lenders == ()
    nodes[0].lending.lent = 0
    assert len((await home.lenders.loan("n2", NAME, file)).lenders) == 1
    nodes[0].base().unlink()
    assert (await home.lenders.loan("n2", NAME, file)).lenders == ()
    assert await home.lenders.loan("n1", NAME, file) == Loan((8 << 20) + 5, os.fstat(file).st_blocks * 512), "nobody lends to itself"
    os.close(file)


async def test_a_peer_that_stands_still_is_left(home: Home, nodes: list[Machine], monkeypatch: pytest.MonkeyPatch) -> None:
    await nodes[0].has()

    async def stand(file: int, writer: asyncio.StreamWriter) -> None:
        writer.write(sparse.HEAD.pack(0, 4096) + b"half")
        await asyncio.Event().wait()

    monkeypatch.setattr("moln.node.lending.BEGIN_S", 0.2)
    monkeypatch.setattr("moln.node.lending.sparse", type("Still", (), {**vars(sparse), "send": staticmethod(stand)}))
    assert await nodes[1].has() == (home.images / NAME).read_bytes()
    assert home.served[-1] == ("n2", NAME)


async def test_a_node_borrows_nothing_that_no_server_of_its_needs(home: Home, nodes: list[Machine]) -> None:
    home.needs.add(("n1", OTHER))
    await nodes[0].has(OTHER)
    with pytest.raises(BackendRefused, match="No server there"):
        await nodes[1].bases.ensure(OTHER)
    assert not nodes[0].lending.promises and list(nodes[1].bases.folder.iterdir()) == []


async def test_a_peer_opens_what_it_was_told_to_lend_and_once(home: Home, nodes: list[Machine]) -> None:
    home.needs |= {("n1", OTHER)}
    for name in (NAME, OTHER):
        await nodes[0].has(name)
    lent, now = nodes[0].lending, [0.0]
    lent.promises.clock_s = lambda: now[0]
    host, port = nodes[0].server.address.rsplit(":", 1)
    client = GateClient(host, int(port), nodes[1].passport, Clock().now_us, member_host("node", "n1"))
    secret = await lent.lend(OTHER)
    for name, shown in ((NAME, secret), (OTHER, ""), ("", ""), (OTHER, "guessed"), ("../../../tls/ca.key", secret)):
        with pytest.raises(BackendRefused, match="No such image is lent|not an id"):
            await client.open(LENT, name, shown)
    stream = await client.open(LENT, OTHER, secret)
    await stream.reader.read()
    stream.close()
    with pytest.raises(BackendRefused):
        await client.open(LENT, OTHER, secret)
    late = await lent.lend(OTHER)
    now[0] += GOOD_S
    with pytest.raises(BackendRefused):
        await client.open(LENT, OTHER, late)
    with pytest.raises(BackendRefused, match="not an id"):
        await lent.lend("../../../tls/ca.key")


async def test_promises_end_and_are_few(home: Home, nodes: list[Machine]) -> None:
    await nodes[0].has()
    lent, now = nodes[0].lending, [0.0]
    lent.promises.clock_s = lambda: now[0]
    for _ in range(PROMISED):
        await lent.lend(NAME)
    with pytest.raises(BackendUnreachable, match="Too many"):
        await lent.lend(NAME)
    now[0] += GOOD_S
    await lent.lend(NAME)
    assert len(lent.promises) == 1


async def test_a_lender_gives_to_a_few_at_a_time_and_the_rest_go_elsewhere(home: Home, nodes: list[Machine]) -> None:
    home.images.joinpath(OTHER).write_bytes(os.urandom(32 << 20))  # more than fits into buffers
    home.needs.add(("n1", OTHER))
    await nodes[0].has(OTHER)
    lent = nodes[0].lending
    promised = [await lent.lend(OTHER) for _ in range(AT_ONCE + 1)]
    opened = [await lent.open(OTHER, secret) for secret in promised[:AT_ONCE]]
    await asyncio.sleep(0)
    assert lent.lent == AT_ONCE
    for refused in (lent.open(OTHER, promised[-1]), lent.lend(OTHER)):
        with pytest.raises(BackendUnreachable, match="Too many take"):
            await refused
    opened.pop().close()
    while lent.lent == AT_ONCE:
        await asyncio.sleep(0)
    opened.append(await lent.open(OTHER, promised[-1]))
    for stream in opened:
        stream.close()
    while lent.lent:
        await asyncio.sleep(0)


async def test_whoever_passes_itself_off_as_a_peer_is_not_asked(home: Home, nodes: list[Machine]) -> None:
    """A node says in its hello where it serves; that somebody else is there, its certificate tells."""
    await nodes[0].has()
    borrowing = nodes[1].bases.borrowing
    assert borrowing is not None
    file = os.open(home.folder / "target", os.O_RDWR | os.O_CREAT)
    for lender in (Lender("n1", nodes[2].server.address, ""), Lender("n1", "nonsense", "")):
        assert await borrowing.borrow(NAME, Loan(1, 1, b"x", (lender,)), file) == ""
    assert os.fstat(file).st_size == 0
    os.close(file)


async def test_an_operator_has_nodes_fetch_what_no_server_there_needs(home: Home, nodes: list[Machine]) -> None:
    home.needs.clear()
    whole = (home.images / NAME).read_bytes()
    for node, machine in (("n1", nodes[0]), ("n2", nodes[1])):
        assert await home.lenders.state(node, NAME) == "absent"
        await home.prefetch(node)
        assert await home.lenders.state(node, NAME) == "coming"
        await machine.bases.coming[NAME]
        assert await home.lenders.state(node, NAME) == "here"
        assert machine.base().read_bytes() == whole
        await machine.heard()
        await home.prefetch(node)  # it is here: nothing begins
        assert not machine.bases.coming
    assert home.served == [("n1", NAME)], "the other took it from the first"


async def test_what_an_operator_promised_one_node_opens_for_that_one_and_that_image(home: Home, nodes: list[Machine]) -> None:
    await nodes[1].server.stop()
    secret = home.lenders._promises.make(f"n1 {NAME}")
    for machine, name, shown in ((nodes[1], NAME, secret), (nodes[0], OTHER, secret), (nodes[0], NAME, "guessed")):
        with pytest.raises(BackendRefused, match="No such image is lent"):
            await machine.bases.gate.open(LENT, name, shown)
    (await nodes[0].bases.gate.open(LENT, NAME, secret)).close()
    with pytest.raises(BackendRefused):
        await nodes[0].bases.gate.open(LENT, NAME, secret)


async def test_a_prefetch_that_fails_leaves_nothing_and_may_be_asked_for_again(home: Home, nodes: list[Machine]) -> None:
    home.needs.clear()
    file = os.open(home.images / OTHER, os.O_RDONLY)
    wrong = home.lenders._digest(NAME, file)  # another image's: what comes is not what it should be
    await wrong
    os.close(file)
    await home.prefetch("n1")
    with pytest.raises(BackendRefused, match="No server there"):
        await nodes[0].bases.coming[NAME]
    assert await home.lenders.state("n1", NAME) == "absent" and list(nodes[0].bases.folder.iterdir()) == []
    home.lenders._digests.clear()
    home.needs.clear()
    await home.prefetch("n1")
    await nodes[0].bases.coming[NAME]
    assert await home.lenders.state("n1", NAME) == "here"


async def test_an_older_controller_knows_of_no_lenders(home: Home, nodes: list[Machine], monkeypatch: pytest.MonkeyPatch) -> None:
    of = home.openers
    monkeypatch.setattr(home.gate, "_openers", lambda node: {"image.base": of(node)["image.base"]})
    assert await nodes[0].has() == (home.images / NAME).read_bytes()


async def test_a_digest_is_made_once_and_again_after_it_failed(home: Home, nodes: list[Machine]) -> None:
    await nodes[0].has()
    broken, good = os.open(home.images, os.O_RDONLY), os.open(home.images / NAME, os.O_RDONLY)
    assert (await home.lenders.loan("n2", NAME, broken)).lenders == ()  # a folder: reading it fails
    made = [await home.lenders.loan("n2", NAME, good) for _ in range(2)]
    assert made[0].digest == made[1].digest == await sparse.digest(good) and len(home.lenders._digests) == 1
    os.close(broken)
    os.close(good)


class Pool:
    """Makes disks as a driver does, and says which image was there."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.saw = machine, list[bool]()

    async def ensure_disk(self, disk_id: str, size_gib: int, image_id: str | None = None) -> None:
        self.saw.append(self.machine.base(image_id or "").exists())
        self.machine.bases.room.make()  # whoever needs room just now
        folder = self.machine.bases.room.disks[0]
        folder.mkdir(exist_ok=True)
        (folder / disk_id).write_bytes(b"")


async def test_what_a_disk_begins_as_is_there_until_it_has_and_pinned_from_then_on(home: Home, nodes: list[Machine]) -> None:
    node = nodes[0]
    node.bases.room.space = lambda _: (1, 0)
    driver, pool = WithBases(pool := Pool(node), node.bases), pool
    await driver.ensure_disk(DISK, 1, NAME)
    assert node.bases.room.make() == [] and pool.saw == [True]
    home.needs.clear()
    node.base().unlink()
    await driver.ensure_disk(DISK, 1, NAME)  # it began before, so no image is needed
    assert pool.saw == [True, False]


async def test_a_digest_is_of_the_bytes_and_not_of_the_holes(tmp_path: Path) -> None:
    async def digest(*parts: tuple[int, bytes], size: int = 5 << 20) -> bytes:
        with (tmp_path / "file").open("wb+") as file:
            for at, data in parts:
                os.pwrite(file.fileno(), data, at)
            file.truncate(size)
            return await sparse.digest(file.fileno())

    empty, one = await digest(), await digest((2 << 20, b"x"))
    assert await digest((0, bytes(5 << 20))) == empty
    assert await digest((2 << 20, b"x"), (4 << 20, bytes(1000))) == one
    others = [await digest((2 << 20, b"y")), await digest(((2 << 20) + 1, b"x")), await digest((3 << 20, b"x")), await digest(size=0),
              await digest((2 << 20, b"x"), size=(5 << 20) - 1), await digest((2 << 20, b"x"), ((5 << 20) - 1, b"x"))]  # fmt: skip
    assert len({empty, one, *others}) == len(others) + 2
