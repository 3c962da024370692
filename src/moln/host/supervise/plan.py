"""What is to run: plain data in run/engines.json, written by `moln up`, read by the supervisor."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Engine:
    """One process to keep.

    argv[0] is a path. env is the whole environment but PATH. user: None for the supervisor's own.
    needs: engines that must be ready before the first start; a later restart of one does not restart this one.
    ready_socket: it is ready once this unix socket accepts. notify: once it writes a line to the file descriptor
    named by MOLN_READY_FD. With neither it is ready at once. ready_s bounds both; whoever misses it starts again.
    after: commands run each time it became ready, before those that need it, and when they are others; idempotent.
    stop_signal, stop_s: how it is asked to end, and for how long before SIGKILL.
    """

    name: str
    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    user: str | None = None
    cwd: str = "/"
    needs: list[str] = field(default_factory=list)
    ready_socket: str | None = None
    notify: bool = False
    ready_s: float = 30
    after: list[list[str]] = field(default_factory=list)
    stop_signal: str = "SIGTERM"
    stop_s: float = 10

    @property
    def digest(self) -> str:
        """Changes when a running process would have to be restarted to follow the plan."""
        return _digest([self.argv, self.env, self.user, self.cwd])

    @property
    def setting_up(self) -> str:
        """Changes when what runs `after` would have to be run again; the process goes on."""
        return _digest(self.after)


def _digest(of: object) -> str:
    return hashlib.sha256(json.dumps(of).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Plan:
    """The engines in the order of their start. log: the folder of their logs; log_limit: bytes of one log file before
    it is turned over."""

    engines: list[Engine]
    log: str
    log_limit: int = 16 << 20

    def text(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Raises: OSError, ValueError, TypeError, when there is no plan or it is another version's."""
        raw = json.loads(path.read_text())
        return cls([Engine(**e) for e in raw["engines"]], raw["log"], raw["log_limit"])
