"""A private MariaDB: its data in a folder of its own, a unix socket and no port, run by a user without rights."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

NOBODY = 65534
PROGRAMS = ("mariadbd", "mariadb-install-db", "mariadb", "mariadb-dump")
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def is_here() -> bool:
    return all(shutil.which(program, path=PATH) for program in PROGRAMS)


class MariaDB:
    """Started at once."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="moln-mariadb-", dir="/tmp"))  # a short path: sockets' are limited
        self._as_nobody: list[str] = []
        if os.geteuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)
            self._as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--pdeathsig", "TERM"]
        self._env = {"PATH": PATH, "HOME": str(self.folder), "TMPDIR": str(self.folder)}
        data = f"--datadir={self.folder}/data"
        made = self._run("mariadb-install-db", "--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve")
        assert made.returncode == 0, made.stdout + made.stderr
        with open(self.folder / "log", "wb") as log:
            self._process = subprocess.Popen(
                [*self._as_nobody, "mariadbd", "--no-defaults", data, f"--socket={self.socket}", "--skip-networking", f"--tmpdir={self.folder}",
                 "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M", "--performance-schema=off", "--skip-log-bin"],
                cwd=self.folder, env=self._env, stdout=log, stderr=log,
            )  # fmt: skip
        until = time.monotonic() + 60
        while self._client("-e", "SELECT 1").returncode:
            assert self._process.poll() is None and time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.05)

    @property
    def socket(self) -> Path:
        return self.folder / "s"

    def url(self, database: str) -> str:
        return f"mysql+pymysql://root@localhost/{database}?charset=utf8mb4&unix_socket={self.socket}"

    def sql(self, text: str, database: str = "mysql") -> str:
        done = self._client("-N", "-B", database, "-e", text)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def dump(self, *arguments: str) -> str:
        """What mariadb-dump writes."""
        done = self._run("mariadb-dump", "--no-defaults", f"--socket={self.socket}", "-uroot", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _client(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run("mariadb", "--no-defaults", f"--socket={self.socket}", "-uroot", *arguments)

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._as_nobody, *command], cwd=self.folder, env=self._env, capture_output=True, text=True, check=False, timeout=120)
