"""What all controllers of a cloud have in common beside the database: files of the home, and settings."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from moln.kernel.errors import Failure

HOSTS = "controllers/database-hosts"  # where PostgreSQL of the cloud's own is (kernel/db/postgres_hosts.py); without it: where settings say
FOLDERS = ("keys", "credential-keys", "policy", "certificates", "fence")
FILES = (
    "admin.password", "tls/ca.pem", "tls/coming.pem", "tls/next.pem", "nats/operator.pem", "nats/account.pem", "nats/system.pem", "nats/notifications",
    "controllers/ca.pem", "controllers/coming.pem", "controllers/next.pem", "controllers/clusters", HOSTS,
)  # fmt: skip
OWN = ("listen", "port", "log_level", "tls_certificate", "tls_key", "tls_ca", "host", "node")  # settings of one machine
HOME = "{home}"
BOUND = 1 << 20  # bytes of a file


class Heritage(Struct, frozen=True):
    """files: by their path in the home. settings: moln.toml, in which HOME stands for the home. programs: those of `files` that are
    executable. members: addresses of the controllers that there are.
    """

    files: dict[str, bytes]
    settings: str
    programs: list[str] = []
    members: list[str] = []


class Asked(Struct, frozen=True):
    """How a machine asks to be a controller. url: where its APIs will be. csr: proves its key (PKCS #10, PEM). again: it is one already, and wants what has changed."""

    token: str
    name: str
    url: str
    csr: str
    again: bool = False


def files(home: Path) -> dict[str, bytes]:
    """Raises: Failure, when one cannot be read."""
    paths = [home / name for name in FILES] + [path for folder in FOLDERS for path in sorted((home / folder).rglob("*"))]
    found = {}
    for path in paths:
        try:
            if path.is_file() and not path.name.startswith("."):
                if path.stat().st_size > BOUND:
                    raise Failure(f"{path} is too large to be given away.")
                found[str(path.relative_to(home))] = path.read_bytes()
        except OSError as error:
            raise Failure(f"{path} cannot be read ({error.strerror}).") from None
    return found


def of(home: Path, settings: Any, members: list[str]) -> Heritage:
    """Raises: Failure, when a file cannot be read."""
    found = files(home)
    return Heritage(found, settings_text(settings, home), [name for name in found if os.access(home / name, os.X_OK)], members)


def keep(home: Path, heritage: Heritage) -> None:
    """Put it into a home that has no cloud yet; moln.toml comes last: whoever finds it finds the rest. Raises: Failure."""
    _keep_files(home, heritage)
    put(home / "moln.toml", heritage.settings.replace(HOME, str(home)).encode(), home)


def keep_again(home: Path, heritage: Heritage) -> None:
    """Into a controller's home; what the other does not have (any more) goes, and settings stay as they are. Raises: Failure."""
    gone = files(home).keys() - heritage.files.keys()
    _keep_files(home, heritage)
    try:
        for name in gone:
            (home / name).unlink(missing_ok=True)
    except OSError as error:
        raise Failure(f"{error.filename} cannot be taken away ({error.strerror}).") from None


def _keep_files(home: Path, heritage: Heritage) -> None:
    for name, data in heritage.files.items():
        parts = Path(name).parts
        if name not in FILES and (parts[0] not in FOLDERS or ".." in parts):
            raise Failure(f"The other controller gives a file that no controller has: {name}")
        put(home / name, data, home, mode=0o700 if name in heritage.programs else 0o600)


def put(file: Path, data: bytes, home: Path, mode: int = 0o600) -> None:
    """A private file, whole or not there. Raises: Failure."""
    new = file.with_name(f".{file.name}.new")
    try:
        for folder in reversed([p for p in file.parents if p != home and p.is_relative_to(home)]):
            folder.mkdir(mode=0o700, exist_ok=True)
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(data)
            os.fchmod(out.fileno(), mode)
            os.fsync(out.fileno())
        new.replace(file)
    except OSError as error:
        raise Failure(f"{file} cannot be written ({error.strerror}).") from None


def settings_text(settings: Any, home: Path) -> str:
    """moln.toml for another controller: what is not as by default, but for what is a machine's own; and where clients find the cloud."""
    ours, plain = msgspec.to_builtins(settings), msgspec.to_builtins(type(settings)())
    differs = {key: _difference(value, plain[key]) for key, value in ours.items() if key not in OWN and value != plain[key]}
    differs["public_url"], differs["tls"] = ours["public_url"], True
    differs.get("link", {}).pop("controller", None)
    tables = {key: value for key, value in differs.items() if isinstance(value, dict)}
    lines = [f"{key} = {toml(value)}" for key, value in differs.items() if key not in tables]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {toml(value)}" for key, value in table.items())]
    return "\n".join(["# Of the controller that this one joined; listen and port are the machine's own.", *lines, ""]).replace(f"{home}/", f"{HOME}/")


def _difference(value: Any, plain: Any) -> Any:
    if isinstance(value, dict) and isinstance(plain, dict):
        return {key: part for key, part in value.items() if key not in plain or part != plain[key]}
    return value


def toml(value: Any) -> str:
    """A value as TOML 1.0 writes it. None stands nowhere in settings."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)
