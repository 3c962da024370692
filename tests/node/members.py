"""An authority of a test's, and members that it vouches for."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from moln.bench.process import lasting_port
from moln.kernel.http.certificates import Authority
from moln.kernel.nodes.passport import Passport

NOW = datetime.now(UTC)


class Members:
    """port: where a gate of theirs may listen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder / "tls", NOW)
        self.port = lasting_port()

    def passport(self, role: str, name: str, authority: Authority | None = None) -> Passport:
        """authority: who vouches for it; it believes the cloud's own in any case."""
        by = authority or self.authority
        file = by.ensure_member(self.folder / f"{role}-{name}-{id(by)}.pem", role, name, NOW)
        return Passport(file, self.authority.public)
