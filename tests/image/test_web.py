"""The downloader by itself: chunks, TLS, and what it allows."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.image.web import serving

from moln.image.drivers.web import Allowed, Web
from moln.kernel.errors import BackendRefused

DATA = bytes(range(256)) * 5000


async def fetched(web: Web, url: str) -> bytes:
    found = await web.open(url)
    return b"".join([piece async for piece in found.pieces()])


def chunked(asked: BaseHTTPRequestHandler, *, whole: bool = True) -> None:
    asked.send_response(200)
    asked.send_header("Transfer-Encoding", "chunked")
    asked.end_headers()
    for at in range(0, len(DATA), 70_000):
        part = DATA[at : at + 70_000]
        asked.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
    if whole:
        asked.wfile.write(b"0\r\n\r\n")
    asked.close_connection = True


async def test_a_body_in_chunks_has_an_end_of_its_own() -> None:
    with serving() as site:
        web = Web(Allowed([f"127.0.0.1:{site.port}"]))
        site.pages["/whole"] = chunked
        site.pages["/half"] = lambda asked: chunked(asked, whole=False)
        assert await fetched(web, f"{site.url}/whole") == DATA
        with pytest.raises(BackendRefused):
            await fetched(web, f"{site.url}/half")
        await web.stop()


def certified(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself, its key behind it."""
    key, began = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC) - timedelta(days=1)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "site")])
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(5)
    made = made.not_valid_before(began).not_valid_after(began + timedelta(days=9)).add_extension(here, critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    file = folder / "site.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(pem + private)
    return file


async def test_who_answers_over_tls_must_prove_who_they_are(tmp_path: Path) -> None:
    file = certified(tmp_path)
    with serving() as site:
        site.put("/disk", DATA)
        site.redirect("/down", f"{site.url}/disk")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        site.server.socket = context.wrap_socket(site.server.socket, server_side=True)
        allowed = Allowed([f"127.0.0.1:{site.port}"])
        knows, others = Web(allowed, tls=lambda: ssl.create_default_context(cafile=str(file))), Web(allowed)
        url = f"https://127.0.0.1:{site.port}"
        assert await fetched(knows, f"{url}/disk") == DATA
        with pytest.raises(BackendRefused, match="certificate"):
            await fetched(others, f"{url}/disk")
        with pytest.raises(BackendRefused, match="from https"):
            await fetched(knows, f"{url}/down")
        for web in (knows, others):
            await web.stop()


@pytest.mark.parametrize(("entry", "url"), [
    ("mirror.example.org", "http://mirror.example.org:8080/x"), ("mirror.example.org:8080", "http://mirror.example.org:8080/x"),
    ("10.0.0.0/8", "http://10.1.2.3/x"), ("10.1.2.3:8080", "http://10.1.2.3:8080/x"), ("[fd00::5]:8080", "http://[fd00::5]:8080/x"),
    ("fd00::/8", "https://[fd00::5]/x"),
])  # fmt: skip
def test_an_operator_names_hosts_addresses_and_networks(entry: str, url: str) -> None:
    assert Allowed([entry]).problem(url) is None
    assert Allowed().problem(url) is not None
    assert Allowed(["198.51.100.7:1"]).problem(url) is not None


def test_what_is_no_entry_is_refused() -> None:
    for text in ("", "10.0.0.0/99", "http://x/", "host:port"):
        with pytest.raises(ValueError):
            Allowed([text])
