"""What is S3's own: signatures, parts, and a server that fails in every way (the suite of all stores is tests/drivers/test_image_stores.py)."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.image.s3 import KEYS, Between, Passing, between, bucket_at, s3_server

from moln.image.drivers.s3 import S3Backend
from moln.image.drivers.s3_requests import Bucket, canonical, query_of, sign
from moln.kernel.errors import NotFound, Unavailable

pytestmark = pytest.mark.asyncio
PART = 5 << 20
DATA = os.urandom(1 << 20) * 11 + b"the end"


@pytest.fixture(scope="module")
def behind() -> Iterator[str]:
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def server(behind: str) -> Iterator[Between]:
    with between(behind) as found:
        yield found


@pytest_asyncio.fixture
async def s3(behind: str, server: Between) -> AsyncIterator[S3Backend]:
    made = bucket_at(behind)
    server.spoil, server.asked = (lambda handler: False), []
    backend = S3Backend(Bucket(server.endpoint, made.name, *KEYS, timeout_s=5), prefix="moln/", part=PART)
    yield backend
    server.spoil = lambda handler: False
    assert await backend.names() == [], "each test leaves nothing"
    await backend.stop()


async def pieces(data: bytes, step: int = 1 << 20) -> AsyncIterator[bytes]:
    for at in range(0, len(data), step):
        yield data[at : at + step]


async def whole(s3: S3Backend, name: str = "one", start: int = 0, length: int = len(DATA)) -> bytes:
    return b"".join([piece async for piece in s3.read(name, start, length)])


@pytest.mark.parametrize("query", [{}, {"uploads": ""}, {"partNumber": "1", "uploadId": "a/b+c=="}, {"list-type": "2", "prefix": "ä ö/~x"}])
async def test_requests_are_signed_as_botocore_signs_them(query: dict[str, str]) -> None:
    auth = pytest.importorskip("botocore.auth")
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    bucket = Bucket("http://store.example:9000", "b", *KEYS, region="eu-north-1")
    path, digest = f"/b/{canonical('moln/a b~c', '/')}", "e" * 64
    mine = sign(bucket, "PUT", path, query_of(query), {"host": "store.example:9000", "x-amz-content-sha256": digest}, datetime.now(UTC))
    url = f"http://store.example:9000{path}" + (f"?{query_of(query)}" if query else "")
    asked = AWSRequest("PUT", url, headers={"host": "store.example:9000", "x-amz-content-sha256": digest})
    signer = auth.S3SigV4Auth(Credentials(*KEYS), "s3", "eu-north-1")
    asked.context["timestamp"] = asked.headers["X-Amz-Date"] = mine["x-amz-date"]
    text = signer.string_to_sign(asked, signer.canonical_request(asked))
    signature = signer.signature(text, asked)
    assert mine["Authorization"].endswith(f"Signature={signature}")


async def test_large_data_goes_in_parts_and_none_is_ever_larger(s3: S3Backend, server: Between) -> None:
    await s3.put("one", len(DATA), pieces(DATA, 3 << 20))
    parts = [asked for asked in server.asked if "partNumber" in asked]
    assert len(parts) == 3 and await s3.size("one") == len(DATA)
    assert await whole(s3) == DATA and await whole(s3, start=PART - 3, length=10) == DATA[PART - 3 : PART + 7]
    await s3.put("one", len(DATA), pieces(DATA))
    assert await s3.names() == ["one"]
    await s3.remove("one")


async def test_many_objects_are_listed_page_by_page(s3: S3Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = s3.ask

    async def by_two(method: str, key: str = "", query: Any = None, body: bytes = b"") -> Any:
        few = (
            {"max-keys": "2"}
            if query and "list-type" in query
            else {"max-uploads": "2"}
            if query and query.get("uploads") == "" and not key
            else {}
        )
        return await ask(method, key, {**query, **few} if query is not None else None, body)

    monkeypatch.setattr(s3, "ask", by_two)
    for number in range(5):
        await s3.put(f"n{number}", 1, pieces(b"x"))
    assert await s3.names() == [f"n{number}" for number in range(5)]
    for number in range(5):
        await s3.remove(f"n{number}")


@pytest.mark.parametrize("promised", [len(DATA) - 1, len(DATA) + 1, 3, 1 << 20])
async def test_data_of_another_length_than_promised_is_not_kept(s3: S3Backend, promised: int) -> None:
    with pytest.raises(Unavailable):
        await s3.put("one", promised, pieces(DATA))
    with pytest.raises(NotFound):
        await s3.size("one")


async def test_a_put_that_is_cancelled_leaves_nothing(s3: S3Backend, server: Between) -> None:
    stuck = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        async for piece in pieces(DATA[: PART * 2]):
            yield piece
        stuck.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(s3.put("one", len(DATA), endless()))
    await stuck.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await s3.uploads("") == []


async def test_parts_that_a_dead_process_left_are_names_and_go_with_them(s3: S3Backend) -> None:
    for _ in range(2):
        await s3.ask("POST", "moln/dead", {"uploads": ""})
    assert await s3.names() == ["dead"]
    await s3.remove("dead")


@pytest.mark.parametrize("status", [503, 500, 429])
async def test_a_server_that_is_busy_is_asked_again(s3: S3Backend, server: Between, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setattr("moln.image.drivers.s3_requests.PAUSE_S", 0.001)
    refused = iter([True, True] + [False] * 100)
    server.spoil = lambda handler: next(refused) and handler.refuse(status, "SlowDown")
    await s3.put("one", 5, pieces(b"hello"))
    assert await whole(s3, length=5) == b"hello"
    await s3.remove("one")


async def test_a_server_that_stays_away_or_refuses_is_unavailable(s3: S3Backend, server: Between, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moln.image.drivers.s3_requests.PAUSE_S", 0.001)

    def close(handler: Passing) -> bool:
        handler.close_connection = True
        return True

    for spoil in (
        lambda h: h.refuse(503, "SlowDown"),
        lambda h: h.refuse(403, "AccessDenied"),
        lambda h: h.refuse(404, "NoSuchBucket"),
        close,
    ):
        server.spoil = spoil
        with pytest.raises(Unavailable):
            await s3.put("one", 5, pieces(b"hello"))
        with pytest.raises(Unavailable):
            await whole(s3)
        with pytest.raises(Unavailable):
            await s3.names()


async def test_a_part_that_fails_for_good_ends_the_whole_upload(s3: S3Backend, server: Between, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moln.image.drivers.s3_requests.PAUSE_S", 0.001)
    server.spoil = lambda handler: "partNumber=2" in handler.path and handler.refuse(500, "InternalError")
    with pytest.raises(Unavailable):
        await s3.put("one", len(DATA), pieces(DATA))
    server.spoil = lambda handler: False
    assert await s3.uploads("") == []


async def test_an_answer_that_breaks_off_is_gone_on_with(s3: S3Backend, server: Between) -> None:
    await s3.put("one", len(DATA), pieces(DATA))
    ranges: list[str] = []

    def cut(handler: Passing) -> bool:
        span = handler.headers.get("Range")
        if handler.command != "GET" or span is None:
            return False
        ranges.append(span)
        start, end = map(int, span.removeprefix("bytes=").split("-"))
        if len(ranges) > 2:
            return False
        handler.send_response(206)
        handler.send_header("Content-Length", str(end - start + 1))
        handler.end_headers()
        handler.wfile.write(DATA[start : start + (2 << 20)])
        handler.close_connection = True
        return True

    server.spoil = cut
    assert await whole(s3) == DATA
    assert len(ranges) == 3 and ranges[0].startswith("bytes=0-")
    ranges.clear()
    server.spoil = lambda handler: cut(handler) if len(ranges) < 2 else ranges.append("") or handler.refuse(206)
    with pytest.raises(Unavailable):
        await whole(s3)
    server.spoil = lambda handler: False
    await s3.remove("one")


def certificate(folder: Path) -> tuple[Path, Path]:
    """A server's certificate for 127.0.0.1 that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True).sign(key, hashes.SHA256())
    )  # fmt: skip
    crt, pem = folder / "ca.crt", folder / "key.pem"
    crt.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return crt, pem


async def test_tls_needs_a_certificate_that_the_operator_trusts(behind: str, tmp_path: Path) -> None:
    crt, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)
    name = bucket_at(behind).name
    with between(behind) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        endpoint = server.endpoint.replace("http:", "https:")
        trusting = S3Backend(Bucket(endpoint, name, *KEYS, ca=str(crt), timeout_s=5))
        await trusting.put("one", 5, pieces(b"hello"))
        assert b"".join([piece async for piece in trusting.read("one", 0, 5)]) == b"hello"
        await trusting.remove("one")
        await trusting.stop()
        stranger = S3Backend(Bucket(endpoint, name, *KEYS, timeout_s=5))
        with pytest.raises(Unavailable) as refused:
            await stranger.names()
        assert "certificate" in (refused.value.detail or "").lower()
        await stranger.stop()
