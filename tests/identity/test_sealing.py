"""What we seal is what Fernet's specification says: cryptography's own Fernet opens it, and no two look alike."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.fernet import Fernet, InvalidToken

from moln.identity.ops.keys import Sealer


@pytest.fixture
def key() -> bytes:
    return Fernet.generate_key()


def _parts(sealed: bytes) -> tuple[bytes, bytes]:
    """The initialization vector and the ciphertext: after the version and the time, before the MAC."""
    raw = base64.urlsafe_b64decode(sealed)
    return raw[9:25], raw[25:-32]


def test_fernet_opens_every_length_and_reads_the_time(key: bytes) -> None:
    sealer, fernet = Sealer(key), Fernet(key)
    for length in range(67):
        sealed = sealer.seal(b"m" * length, 1_700_000_000 + length)
        assert fernet.decrypt(sealed) == b"m" * length
        assert fernet.extract_timestamp(sealed) == 1_700_000_000 + length
        assert len(sealed) == len(fernet.encrypt(b"m" * length))


def test_the_same_message_is_never_the_same_token(key: bytes) -> None:
    """Neither from one sealer nor from two with one key, as two controllers have."""
    one, two = Sealer(key), Sealer(key)
    sealed = [_parts(sealer.seal(b"x" * 48, 1)) for _ in range(200) for sealer in (one, two)]
    assert len({vector for vector, _ in sealed}) == len(sealed)
    blocks = [text[at : at + 16] for _, text in sealed for at in range(0, len(text), 16)]
    assert len(set(blocks)) == len(blocks)


def test_a_token_of_another_key_or_touched_is_refused(key: bytes) -> None:
    sealed = Sealer(key).seal(b"who", 1)
    with pytest.raises(InvalidToken):
        Fernet(Fernet.generate_key()).decrypt(sealed)
    for at in (1, 15, 30, 60, len(sealed) - 6):
        touched = sealed[:at] + (b"A" if sealed[at : at + 1] != b"A" else b"B") + sealed[at + 1 :]
        with pytest.raises(InvalidToken):
            Fernet(key).decrypt(touched)


def test_any_thread_may_seal(key: bytes) -> None:
    sealer, fernet = Sealer(key), Fernet(key)
    messages = [b"%d" % n * 40 for n in range(2000)]
    with ThreadPoolExecutor(8) as threads:
        sealed = list(threads.map(lambda message: sealer.seal(message, 1), messages))
    assert [fernet.decrypt(each) for each in sealed] == messages
