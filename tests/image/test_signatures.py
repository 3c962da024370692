"""Signed images: what is not what was signed never becomes an image."""

from __future__ import annotations

import base64
import functools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.x509.oid import NameOID
from tests.image.conftest import Settings
from tests.image.importing import DATA, OCTETS, made, shown, task_of
from tests.wire.areas import AreaApi, areas

import moln.image.module as image_module

pytestmark = pytest.mark.asyncio(loop_scope="module")
PSS = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.MAX_LENGTH)
SIGNED = {"rsa": ("RSA-PSS", "SHA-256"), "ec": ("ECC_SECP384R1", "SHA-512"), "dsa": ("DSA", "SHA-384")}  # certificate: key type, hash method


@functools.cache
def signer(kind: str) -> Any:
    """Its key, drawn at the first use: DSA's takes seconds."""
    match kind:
        case "rsa":
            return rsa.generate_private_key(65537, 2048)
        case "ec":
            return ec.generate_private_key(ec.SECP384R1())
        case _:
            return dsa.generate_private_key(2048)


def signature(kind: str) -> bytes:
    """Of DATA."""
    match kind:
        case "rsa":
            return bytes(signer(kind).sign(DATA, PSS, hashes.SHA256()))
        case "ec":
            return bytes(signer(kind).sign(DATA, ec.ECDSA(hashes.SHA512())))
        case _:
            return bytes(signer(kind).sign(DATA, hashes.SHA384()))


def certificate(key: Any, days: int) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "signer")])
    began = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=10)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
    signed = made.not_valid_before(began).not_valid_after(began + timedelta(days=days)).sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AreaApi]:
    home = tmp_path_factory.mktemp("signed")
    (home / "certificates").mkdir()
    for name, kind, days in (("rsa", "rsa", 20), ("ec", "ec", 20), ("dsa", "dsa", 20), ("old", "rsa", 5)):
        (home / "certificates" / f"{name}.pem").write_bytes(certificate(signer(kind), days))
    settings = Settings(simulate=True)
    async with areas(home, settings, [image_module.module(settings)]) as api:
        yield api


@pytest_asyncio.fixture(loop_scope="module")
async def alice(cloud: AreaApi) -> AsyncIterator[httpx.AsyncClient]:
    yield cloud.client("red/member", "/image")
    await cloud.settle()
    assert await cloud.doctor() == []


def properties(kind: str, **more: str) -> dict[str, str]:
    key_type, method = SIGNED[kind]
    return {
        "img_signature": base64.b64encode(signature(kind)).decode(), "img_signature_hash_method": method, "img_signature_key_type": key_type,
        "img_signature_certificate_uuid": kind,
    } | more  # fmt: skip


@pytest.mark.parametrize("kind", SIGNED)
async def test_what_was_signed_is_taken_and_nothing_else(alice: httpx.AsyncClient, kind: str) -> None:
    image = await made(alice, container_format="ova", **properties(kind))
    refused = await alice.put(image["file"], content=DATA + b"!", headers=OCTETS)
    assert refused.status_code == 400 and "Signature verification failed" in refused.text
    assert (await shown(alice, image))["status"] == "queued"
    assert (await alice.put(image["file"], content=DATA, headers=OCTETS)).status_code == 204
    assert (await alice.get(image["file"])).content == DATA


WRONG = {
    "method": {"img_signature_hash_method": "MD5"}, "base64": {"img_signature": "?"}, "unknown": {"img_signature_certificate_uuid": "absent"},
    "path": {"img_signature_certificate_uuid": "../certificates/rsa"}, "old": {"img_signature_certificate_uuid": "old"},
    "key": {"img_signature_key_type": "DSA"}, "other": {"img_signature_certificate_uuid": "ec"},
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
async def test_a_signature_that_cannot_be_checked_is_none(alice: httpx.AsyncClient, what: str) -> None:
    image = await made(alice, container_format="ova", **properties("rsa", **WRONG[what]))
    assert (await alice.put(image["file"], content=DATA, headers=OCTETS)).status_code == 400
    assert (await shown(alice, image))["status"] == "queued"


async def test_an_import_is_checked_too(cloud: AreaApi, alice: httpx.AsyncClient) -> None:
    for data, status in ((DATA + b"!", "queued"), (DATA, "active")):
        image = await made(alice, container_format="ova", **properties("rsa"))
        assert (await alice.put(f"{image['self']}/stage", content=data, headers=OCTETS)).status_code == 204
        assert (await alice.post(f"{image['self']}/import", json={"method": {"name": "glance-direct"}})).status_code == 202
        await cloud.settle()
        assert (await shown(alice, image))["status"] == status
        assert (await task_of(alice, image))["status"] == ("success" if status == "active" else "failure")


async def test_some_of_the_properties_are_no_signature(alice: httpx.AsyncClient) -> None:
    image = await made(alice, container_format="ova", img_signature="x")
    assert (await alice.put(image["file"], content=DATA, headers=OCTETS)).status_code == 204
