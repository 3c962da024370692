"""The keys that seal tokens: files in the home, the highest number whose time has come seals, all of them open.

A file's time of change is when its key may begin to seal.
"""

from __future__ import annotations

import base64
import os
import threading
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

MAX_TOKEN = 4096  # characters; ours are about 200, and 23 more for each group that a provider puts somebody into
KEEP = 3  # keys: the one that seals and those that may have sealed a token still alive
BLOCK = 16  # bytes of AES's


class Sealer:
    """Makes what Fernet opens (github.com/fernet/spec), in 3 µs: cryptography's own begins a cipher and a MAC for each, in 7.

    The cipher goes on from message to message. A random block before each is encrypted first, and what becomes of it is the
    message's initialization vector: as random as the block, whatever went before, since a block cipher permutes blocks.
    """

    def __init__(self, key: bytes):
        raw = base64.urlsafe_b64decode(key)
        self._cipher = Cipher(algorithms.AES(raw[BLOCK:]), modes.CBC(os.urandom(BLOCK))).encryptor()
        self._mac = HMAC(raw[:BLOCK], SHA256())
        self._lock = threading.Lock()

    def seal(self, payload: bytes, now_s: int) -> bytes:
        """From any thread."""
        missing = BLOCK - len(payload) % BLOCK
        clear = os.urandom(BLOCK) + payload + bytes((missing,)) * missing  # padded as PKCS #7 says
        with self._lock:
            sealed = self._cipher.update(clear)
        text = b"\x80" + now_s.to_bytes(8, "big") + sealed
        mac = self._mac.copy()
        mac.update(text)
        return base64.urlsafe_b64encode(text + mac.finalize())


class Keyring:
    """Seals and opens payloads (Fernet: AES-128-CBC and HMAC-SHA256)."""

    def __init__(self, folder: Path, longest: int = MAX_TOKEN):
        """longest: characters of what it opens, at most."""
        self.folder, self.longest = folder, longest
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._files():
            self._make(1, self.new())
        self._load()

    def seal(self, payload: bytes, now_s: int) -> str:
        sealer = next((sealer for since, sealer in self._sealers if since <= now_s), self._sealers[-1][1])
        return sealer.seal(payload, now_s).decode().rstrip("=")

    def open(self, token: str) -> bytes:
        """Raises: ValueError, when none of the keys sealed it."""
        if not token.isascii() or len(token) > self.longest:
            raise ValueError("no token of ours")
        try:
            return self._fernet.decrypt(token + "=" * (-len(token) % 4))
        except InvalidToken as error:
            raise ValueError("no token of ours") from error

    def rotate(self) -> None:
        """Make a new key and drop those beyond KEEP."""
        self.add(self.newest + 1, self.new())

    def add(self, number: int, key: bytes, since: int | None = None) -> None:
        """Another one, which may seal from then on (seconds since 1970; None: now)."""
        self._make(number, key, since)
        for old in self._files()[:-KEEP]:
            old.unlink()
        self._load()

    def supersede(self) -> None:
        """A new key; those before stay and open, until `forget`."""
        self._make(self.newest + 1, self.new())
        self._load()

    def again(self, token: str, now_s: int) -> str:
        """The same, sealed by the newest key. Raises: ValueError."""
        return self._sealers[0][1].seal(self.open(token), now_s).decode().rstrip("=")

    def forget(self) -> None:
        """All but the newest: whatever they sealed is worth nothing."""
        for old in self._files()[:-1]:
            old.unlink()
        self._load()

    @staticmethod
    def new() -> bytes:
        return Fernet.generate_key()

    @property
    def newest(self) -> int:
        return _number(self._files()[-1])

    def age_s(self, now_s: float) -> float:
        """How long the present key has sealed, in seconds."""
        return now_s - self._files()[-1].stat().st_mtime

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.key"), key=_number)

    def _load(self) -> None:
        """A second is forgiven: a file's time has parts of it."""
        keys = [(int(path.stat().st_mtime), path.read_bytes().strip()) for path in reversed(self._files())]
        self._sealers = [(since, Sealer(key)) for since, key in keys]
        self._fernet = MultiFernet([Fernet(key) for _, key in keys])

    def _make(self, number: int, key: bytes, since: int | None = None) -> None:
        path = self.folder / f"{number}.key"
        draft = self.folder / f".{number}.draft"
        draft.unlink(missing_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(key)
            file.flush()
            if since is not None:
                os.utime(draft, (since, since))
            os.fsync(file.fileno())
        draft.rename(path)


def _number(path: Path) -> int:
    return int(path.stem)
