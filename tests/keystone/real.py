"""PyPI's Keystone: its environment (made once, kept), its database on a MariaDB, and its API while it is asked for."""

from __future__ import annotations

import os
import subprocess
import venv
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from tests.keystone.mariadb import MariaDB

PACKAGES = ["keystone==30.0.0", "PyMySQL==1.2.4"]
PASSWORD = "keystone's-Admin-1"
SERVE = """
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
WSGIRequestHandler.log_message = lambda *_: None
from keystone.server.wsgi import initialize_public_application
class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
made = make_server("127.0.0.1", 0, initialize_public_application(), server_class=Server)
print(made.server_port, flush=True)
made.serve_forever()
"""
HASH = """
import sys
from keystone.common.password_hashers import bcrypt, pbkdf2, scrypt
kinds = {"bcrypt": bcrypt.Bcrypt, "bcrypt_sha256": bcrypt.Bcrypt_sha256, "scrypt": scrypt.Scrypt, "pbkdf2_sha512": pbkdf2.Sha512}
print(kinds[sys.argv[1]].hash(sys.argv[2].encode()))
"""


def environment() -> Path:
    """Keystone's own; made once."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "moln-keystone"
    folder = cache / f"venv-{zlib.crc32(repr(PACKAGES).encode()):08x}"
    python, stamp = folder / "bin" / "python", folder / "installed"
    if not stamp.exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES], check=True, timeout=1200)
        stamp.write_text("\n".join(PACKAGES))
    return python


class Keystone:
    """A database that keystone-manage made and filled with what every Keystone begins with."""

    def __init__(self, mariadb: MariaDB, folder: Path):
        self.mariadb, self.folder, self._python = mariadb, folder, environment()
        self.credential_keys = folder / "credential-keys"
        tokens = folder / "fernet-keys"
        for keys in (self.credential_keys, tokens):
            keys.mkdir(parents=True)
        (folder / "keystone.conf").write_text(
            f"[database]\nconnection = {mariadb.url('keystone')}\n[cache]\nenabled = false\n"
            f"[fernet_tokens]\nkey_repository = {tokens}\n[fernet_receipts]\nkey_repository = {tokens}\n"
            f"[credential]\nkey_repository = {self.credential_keys}\n[identity]\npassword_hash_rounds = 4\n"
            f"[auth]\nmethods = password,token,application_credential,mapped\n"
        )
        mariadb.sql("CREATE DATABASE keystone CHARACTER SET utf8mb4")
        self.manage("db_sync")
        for what in ("fernet_setup", "credential_setup"):
            self.manage(what, "--keystone-user", str(os.geteuid()), "--keystone-group", str(os.getegid()))
        self.manage("bootstrap", "--bootstrap-password", PASSWORD, "--bootstrap-public-url", "http://old.example:5000/v3",
                    "--bootstrap-region-id", "RegionOne")  # fmt: skip

    def manage(self, *arguments: str) -> None:
        command = [self._python.parent / "keystone-manage", "--config-file", self.folder / "keystone.conf", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr

    def hash(self, kind: str, password: str) -> str:
        """As Keystone itself hashes."""
        done = subprocess.run([self._python, "-c", HASH, kind, password], capture_output=True, text=True, check=True, timeout=60)
        return done.stdout.strip()

    @contextmanager
    def api(self) -> Iterator[httpx.Client]:
        """Its API, asked as its administrator."""
        env = {**os.environ, "OS_KEYSTONE_CONFIG_DIR": str(self.folder)}
        with open(self.folder / "log", "ab") as log:
            process = subprocess.Popen([self._python, "-c", SERVE], env=env, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout
            port = process.stdout.readline().strip()
            assert port, (self.folder / "log").read_text()
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                client.headers["X-Auth-Token"] = token(client, "admin", PASSWORD, "admin")
                yield client
        finally:
            process.terminate()
            process.wait(30)


def token(client: httpx.Client, user: str, password: str, project: str, domain: str = "default") -> str:
    who = {"methods": ["password"], "password": {"user": {"name": user, "domain": {"id": domain}, "password": password}}}
    scope = {"project": {"name": project, "domain": {"id": domain}}}
    answer = client.post("/v3/auth/tokens", json={"auth": {"identity": who, "scope": scope}})
    assert answer.status_code == 201, answer.text
    return answer.headers["X-Subject-Token"]

