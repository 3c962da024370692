"""Volumes of one host on another, by real nbdkits: what is written arrives, what is killed heals, and who has no secret gets nothing."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace
from tests.drivers.lending import NOBODY, Pair, apart, arrived, cut, exports, real_pair, stand_still

from moln.kernel.errors import BackendRefused, Failure
from moln.node import keepalive, nbdkit
from moln.node.exports import NbdExports
from moln.volume.drivers.base import Export

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(90)]
GIB = 1 << 30
__all__ = ["apart"]


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with real_pair(tmp_path) as found:
        yield found


async def program(*words: str, timeout_s: float = 30) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        async with asyncio.timeout(timeout_s):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        said, _ = await process.communicate()
        return -1, said.decode()
    return process.returncode or 0, said.decode()


async def qemu_io(socket: str, *commands: str, timeout_s: float = 30) -> bool:
    """Whether QEMU's own client did all of it on the socket of a volume."""
    words = [word for command in commands for word in ("-c", command)]
    code, said = await program("qemu-io", "-f", "raw", *words, f"nbd+unix:///?socket={socket}", timeout_s=timeout_s)
    return code == 0 and "rror" not in said and "failed" not in said


async def lent(pair: Pair, host: str = "b") -> tuple[Export, str, Path]:
    """(as lent, its socket on the other host, its file)."""
    volume = await pair.make()
    export = await pair.here.ensure_export(volume, host)
    connection = await pair.there.ensure_import(export)
    return export, connection.path, pair.pool.volumes / volume


def peek(file: Path, at: int, count: int = 1) -> bytes:
    with open(file, "rb") as found:
        found.seek(at)
        return found.read(count)


def process_of(end: NbdExports, folder: str) -> nbdkit.Process:
    return end.processes[end.folder / folder]


async def test_what_a_guest_writes_there_is_in_the_file_here(pair: Pair) -> None:
    _, socket, file = await lent(pair)
    assert await qemu_io(socket, "write -P 0x41 1M 64k", "flush")
    assert peek(file, 1 << 20, 65536) == b"A" * 65536
    with open(file, "r+b") as here:
        here.write(b"B" * 512)
    assert await qemu_io(socket, "read -P 0x42 0 512")


async def test_a_guest_waits_while_an_exporter_is_killed_and_started_anew(pair: Pair) -> None:
    export, socket, file = await lent(pair)
    tending = asyncio.create_task(pair.here.run())
    guest = asyncio.create_task(qemu_io(socket, "write -P 0x41 0 64k", "sleep 2000", "write -P 0x43 1M 64k", "flush", "read -P 0x41 0 64k"))
    while peek(file, 0) != b"A":
        await asyncio.sleep(0.02)
    killed = process_of(pair.here, f"exports/{export.volume_id}+b")
    os.kill(killed.pid, signal.SIGKILL)
    assert await guest
    assert peek(file, 1 << 20, 4) == b"CCCC"
    assert process_of(pair.here, f"exports/{export.volume_id}+b") != killed
    tending.cancel()


async def test_a_guest_does_not_wait_for_an_answer_that_will_never_come(apart: None, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its request arrived, and whoever was to answer died while the link was cut: nothing is sent again by which that would be noticed."""
    for name, value in (("IDLE_S", 1), ("PROBE_S", 1), ("SILENT_S", 3)):
        monkeypatch.setattr(keepalive, name, value)
    export, socket, file = await lent(pair)
    folder = pair.here.exports / f"{export.volume_id}+b"
    lender = pair.here.processes[folder]
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        tending = [group.create_task(end.run()) for end in (pair.here, pair.there)]
        guest = await asyncio.create_subprocess_exec("qemu-io", "-f", "raw", f"nbd+unix:///?socket={socket}", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert guest.stdin and guest.stdout
        guest.stdin.write(b"write -P 0x41 0 64k\n")
        await guest.stdout.readuntil(b"wrote 65536")
        await stand_still(lender.pid)
        guest.stdin.write(b"write -P 0x42 1M 4k\nflush\n")
        guest.stdin.close()
        while not await arrived():
            await asyncio.sleep(0.05)
        with cut():
            os.kill(lender.pid, signal.SIGKILL)
            while pair.here.processes.get(folder, lender) == lender:
                await asyncio.sleep(0.02)
        said, _ = await guest.communicate()
        for task in tending:
            task.cancel()
    assert b"wrote 4096" in said and peek(file, 1 << 20) == b"B"


async def test_what_is_lent_outlives_the_node_and_is_found_again(pair: Pair) -> None:
    export, socket, file = await lent(pair)
    before = [dict(end.processes) for end in (pair.here, pair.there)]
    await pair.here.stop()
    await pair.there.stop()
    assert await qemu_io(socket, "write -P 0x41 0 64k", "flush")
    pair.here, pair.there = exports(file.parents[2]), exports(pair.there.folder.parent)
    await pair.here.start()
    await pair.there.start()
    assert [end.processes for end in (pair.here, pair.there)] == before
    assert await pair.here.ensure_export(export.volume_id, "b") == export


BEGUN = """
import asyncio, sys
from pathlib import Path
from tests.drivers.lending import exports
async def begin():
    end = exports(Path(sys.argv[1]))
    await end.start()
    await end.ensure_export(sys.argv[2], "b")
asyncio.run(begin())
"""


async def test_what_a_node_began_goes_on_when_its_process_has_ended(pair: Pair) -> None:
    volume = await pair.make()
    root = pair.pool.volumes.parents[1]
    code, said = await program(sys.executable, "-c", BEGUN, str(root), volume)
    assert code == 0, said
    again = exports(root)
    await again.start()
    export = await again.ensure_export(volume, "b")
    [[process]] = nbdkit.running(root).values()
    assert again.processes == {again.exports / f"{volume}+b": process}
    connection = await pair.there.ensure_import(export)
    assert await qemu_io(connection.path, "write -P 0x41 0 64k", "flush")
    assert not nbdkit.ended(process)
    await again.stop()


async def test_whatever_nobody_asked_for_ends_when_the_node_begins(pair: Pair) -> None:
    export, _, file = await lent(pair)
    process = process_of(pair.here, f"exports/{export.volume_id}+b")
    await pair.here.stop()
    (pair.here.exports / f"{export.volume_id}+b" / "export.json").unlink()
    pair.here = exports(file.parents[2])
    await pair.here.start()
    assert nbdkit.ended(process) and not list(pair.here.exports.iterdir())


async def refused(export: Export) -> bool:
    """Whether the exporter lets nobody in who comes with this."""
    host, port = export.address.split(":")
    key = Path(f"/var/tmp/moln-lent-key-{os.getpid()}")
    key.write_text(f"{export.host}:{export.secret}\n")
    try:
        code, said = await program("nbdinfo", "--size", f"nbds://{export.host}@{host}:{port}/{export.name}?tls-psk-file={key}")
    finally:
        key.unlink()
    return code != 0 and not said.strip().isdigit()


async def test_nobody_without_the_secret_of_this_volume_and_this_host_gets_in(pair: Pair, tmp_path: Path) -> None:
    mine, _, _ = await lent(pair)
    other, third = await pair.here.ensure_export(mine.volume_id, "c"), await pair.here.ensure_export(await pair.make(), "b")
    assert not await refused(mine)
    for wrong in (replace(mine, secret="0" * 48), replace(mine, secret=other.secret), replace(mine, secret=third.secret), replace(mine, host="c"),
                  replace(mine, host="c", secret=other.secret), replace(mine, name="")):  # fmt: skip
        assert await refused(wrong), wrong
    host, port = mine.address.split(":")
    assert (await program("nbdinfo", f"nbd://{host}:{port}/{mine.name}"))[0] != 0  # without TLS
    with pytest.raises(BackendRefused):
        await pair.there.ensure_import(replace(mine, volume_id="../x"))


async def test_a_certificate_is_no_way_in(pair: Pair, tmp_path: Path) -> None:
    """Whoever stole a node has one of the cloud's authority."""
    mine, _, _ = await lent(pair)
    code, said = await certified(mine)
    assert code != 0 and "gnutls_handshake" in said, said


async def certified(export: Export) -> tuple[int, str]:
    host, port = export.address.split(":")
    folder = Path(f"/var/tmp/moln-lent-x509-{os.getpid()}")
    folder.mkdir()
    try:
        for name in ("ca", "client"):
            await program("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-days", "2",
                          "-keyout", f"{folder}/{name}-key.pem", "-out", f"{folder}/{name}-cert.pem")  # fmt: skip
        return await program("nbdinfo", "--size", f"nbds://{host}:{port}/{export.name}?tls-certificates={folder}&tls-verify-peer=false")
    finally:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


async def test_a_host_that_it_was_withdrawn_from_writes_nothing_any_more(pair: Pair) -> None:
    export, socket, file = await lent(pair)
    other = await pair.here.ensure_export(export.volume_id, "c")
    assert await qemu_io(socket, "write -P 0x41 0 64k")
    guest = asyncio.create_task(qemu_io(socket, "write -P 0x42 0 64k", "sleep 1500", "write -P 0x43 0 64k", timeout_s=6))
    while peek(file, 0) != b"B":
        await asyncio.sleep(0.02)
    await pair.here.remove_export(export.volume_id, "b")
    tending = asyncio.create_task(pair.here.run())
    assert not await guest  # it waits for ever
    tending.cancel()
    assert peek(file, 0) == b"B"
    assert await refused(export) and not await refused(other)


async def test_a_host_that_was_started_anew_lets_no_guest_go_on_as_if_nothing_was_lost(pair: Pair) -> None:
    export, socket, file = await lent(pair)
    assert await qemu_io(socket, "write -P 0x41 0 64k")
    await pair.here.stop()
    nbdkit.stop(process_of(pair.here, f"exports/{export.volume_id}+b"))
    pair.here = exports(file.parents[2], boot="second")
    await pair.here.start()
    assert not await qemu_io(socket, "read 0 64k", timeout_s=4)
    again = await pair.here.ensure_export(export.volume_id, "b")
    assert again == replace(export, name="second")  # its guest, started anew, goes on with it
    await pair.there.ensure_import(again)
    assert await qemu_io(socket, "read -P 0x41 0 64k")


async def test_a_volume_that_grew_is_larger_for_whoever_connects_from_then_on(pair: Pair) -> None:
    export, socket, _ = await lent(pair)
    await pair.pool.extend_volume(export.volume_id, 2)
    assert await qemu_io(socket, f"write -P 0x41 {2 * GIB - 65536} 64k")


async def test_an_exporter_has_no_rights_but_to_its_file(pair: Pair) -> None:
    export, socket, file = await lent(pair)
    assert await qemu_io(socket, "read 0 512")  # both are nbdkits by now
    assert stat.S_IMODE(file.stat().st_mode) & 0o007 == 0
    for end, folder in ((pair.here, f"exports/{export.volume_id}+b"), (pair.there, f"imports/{export.volume_id}")):
        pid = process_of(end, folder).pid
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
        assert status["Uid"].split() == [str(pwd.getpwnam(NOBODY).pw_uid)] * 4 and not status["Groups"].strip()
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0 and status["NoNewPrivs"] == "1"
        assert export.secret not in Path(f"/proc/{pid}/cmdline").read_text()
        assert stat.S_IMODE((end.folder / folder / "export.json").stat().st_mode) == 0o600
    await pair.here.remove_export(export.volume_id, "b")
    assert "system.posix_acl_access" not in os.listxattr(file) and stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_libvirt_may_give_the_file_to_another_user_and_take_it_back(pair: Pair) -> None:
    """As it does when a server leaves the volume's own host while the volume is lent to where it goes."""
    _, socket, file = await lent(pair)
    for uid in (12345, 0):
        os.chown(file, uid, uid)
        assert await qemu_io(socket, "write -P 0x41 0 64k", "flush")


@pytest.mark.parametrize("host", ["", "../b", "b/c", "b c", "-b"])
async def test_a_host_has_a_name_that_makes_no_other_file(pair: Pair, host: str) -> None:
    volume = await pair.make()
    with pytest.raises(Failure):
        await pair.here.ensure_export(volume, host)


async def test_what_did_not_start_stops_without_a_word(tmp_path: Path) -> None:
    """Else the node's log tells of that in place of why it did not come up."""
    await exports(tmp_path).stop()
