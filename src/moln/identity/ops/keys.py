"""The keys that seal tokens: files in the home, the highest number seals, all of them open."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

MAX_TOKEN = 1024  # characters; ours are about 200
KEEP = 3  # keys: the one that seals and those that may have sealed a token still alive


class Keyring:
    """Seals and opens payloads (Fernet: AES-128-CBC and HMAC-SHA256)."""

    def __init__(self, folder: Path, longest: int = MAX_TOKEN):
        """longest: characters of what it opens, at most."""
        self.folder, self.longest = folder, longest
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._files():
            self._make(1)
        self._fernet = self._load()

    def seal(self, payload: bytes, now_s: int) -> str:
        return self._fernet.encrypt_at_time(payload, now_s).decode().rstrip("=")

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
        files = self._files()
        self._make(_number(files[-1]) + 1)
        for old in self._files()[:-KEEP]:
            old.unlink()
        self._fernet = self._load()

    def age_s(self, now_s: float) -> float:
        """How long the present key has sealed, in seconds."""
        return now_s - self._files()[-1].stat().st_mtime

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.key"), key=_number)

    def _load(self) -> MultiFernet:
        return MultiFernet([Fernet(path.read_bytes().strip()) for path in reversed(self._files())])

    def _make(self, number: int) -> None:
        path = self.folder / f"{number}.key"
        draft = self.folder / f".{number}.draft"
        draft.unlink(missing_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(Fernet.generate_key())
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)


def _number(path: Path) -> int:
    return int(path.stem)
