"""What an engine shows is looked at as one does who trusts the newest authority alone, before the one before it ends."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from moln.kernel.controllers import proof, showing
from moln.kernel.http import certificates, succession
from moln.kernel.http.certificates import Authority

NOW, HERE = datetime.now(UTC), "127.0.0.1"


@contextlib.asynccontextmanager
async def engine(home: Path, file: Path, *, postgresql: bool = False, says: bytes = b"S") -> AsyncIterator[int]:
    """The port of one that shows this certificate to members; PostgreSQL's begins without TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(home / proof.FOLDER / "ca.crt")
    context.load_cert_chain(file)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            if postgresql:
                assert await reader.readexactly(8) == showing.SSL_REQUEST
                writer.write(says)
                if says == b"S":
                    await writer.start_tls(context)
            await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, HERE, 0, ssl=None if postgresql else context) as server:
        yield server.sockets[0].getsockname()[1]


def shown(home: Path, name: str, address: str = HERE) -> Path:
    """A file with a certificate of the newest authority."""
    return Authority(home / proof.FOLDER, NOW).ensure_server(home / name, frozenset({address}), NOW, asks=True)


async def wrong(home: Path, file: Path, *, postgresql: bool = False, says: bytes = b"S", given: Path | None = None) -> str:
    """What is the matter with an engine that shows this. given: the file that it was given meanwhile."""
    async with engine(home, file, postgresql=postgresql, says=says) as port:
        return await unlike(home, given or file, port, postgresql)


async def unlike(home: Path, file: Path, port: int, postgresql: bool) -> str:
    return await showing.unlike(home, showing.Engine("one", file.name, (port,)), HERE, port, NOW, showing.POSTGRESQL if postgresql else 0)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    proof.ensure(tmp_path, "c1", NOW)
    return tmp_path


@pytest.mark.parametrize("postgresql", [False, True])
async def test_one_of_the_authority_before_is_seen_while_it_counts_and_when_it_has_ended(home: Path, postgresql: bool) -> None:
    folder, old = home / proof.FOLDER, shown(home, "old.pem")
    assert await wrong(home, old, postgresql=postgresql) == "", "there is one authority"
    succession.begin(folder, NOW)
    succession.go(folder)
    proof.ensure(home, "c1", NOW)
    new = shown(home, "new.pem")
    assert "another's certificate" in await wrong(home, old, postgresql=postgresql), "though both are trusted"
    assert await wrong(home, new, postgresql=postgresql) == ""
    succession.finish(folder, NOW)
    assert "another's certificate" in await wrong(home, old, postgresql=postgresql)
    assert await wrong(home, new, postgresql=postgresql) == ""


@pytest.mark.parametrize("postgresql", [False, True])
async def test_who_shows_that_of_another_place_is_not_the_one(home: Path, postgresql: bool) -> None:
    assert "another's certificate" in await wrong(home, shown(home, "elsewhere.pem", "192.0.2.9"), postgresql=postgresql)


async def test_nobody_is_not_another(home: Path) -> None:
    async with engine(home, file := shown(home, "new.pem")) as port:
        pass
    for postgresql in (False, True):
        assert "nobody is there" in await unlike(home, file, port, postgresql)


async def test_a_database_without_tls_shows_nothing(home: Path) -> None:
    assert "it does not do TLS" in await wrong(home, shown(home, "new.pem"), postgresql=True, says=b"N")


@pytest.mark.parametrize("postgresql", [False, True])
async def test_who_was_given_another_shows_the_one_before_until_it_reads(home: Path, postgresql: bool) -> None:
    before, given = shown(home, "before.pem"), shown(home, "given.pem")
    assert await wrong(home, before, given=given, postgresql=postgresql) == "the certificate before", "though both are good"
    assert await wrong(home, given, postgresql=postgresql) == ""


@pytest.mark.parametrize(("left_days", "renewed"), [(certificates.SPARE_DAYS + 1, False), (certificates.SPARE_DAYS - 1, True)])
async def test_they_are_renewed_in_their_last_days_by_whoever_signed_them(home: Path, monkeypatch: pytest.MonkeyPatch, left_days: int, renewed: bool) -> None:
    monkeypatch.setattr(showing, "LOOKS", 1)
    made = NOW - timedelta(days=certificates.DAYS - left_days)
    for engine in showing.ENGINES:
        file = home / engine.file
        file.parent.mkdir(exist_ok=True)
        Authority(home / engine.authority, NOW).ensure_server(file, frozenset({"127.0.0.9", "c1"}), made, asks=engine.asks)
    assert not await showing.Showing(home, "127.0.0.9").keep(NOW), "nobody shows them"
    for engine in showing.ENGINES:
        _, found = certificates.read(home / engine.file)
        assert found is not None and round((found.not_valid_after_utc - NOW) / timedelta(days=1)) == (certificates.DAYS if renewed else left_days)
        assert sorted(certificates.names(found)) == ["127.0.0.9", "c1"]
        found.verify_directly_issued_by(Authority(home / engine.authority, NOW).certificate)


async def test_where_there_are_no_engines_nothing_is_made(home: Path) -> None:
    before = sorted(home.rglob("*"))
    assert await showing.Showing(home, HERE).keep(NOW)
    assert sorted(home.rglob("*")) == before
