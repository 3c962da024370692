"""Settings: typed, from `moln.toml` in the home; every one has the default that an operator would choose."""

from __future__ import annotations

import socket
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from moln.kernel.errors import Invalid
from moln.kernel.tracing import TracingSettings

S = msgspec.Struct
LEVELS = ("debug", "info", "warning", "error")


def load(path: Path, shape: type[Any], **overrides: Any) -> Any:
    """The settings file decoded into `shape` (a Struct of Structs); a missing file is an empty one. Raises: Invalid."""
    data: dict[str, Any] = {}
    if path.exists():
        try:
            data = tomllib.loads(path.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"{path} is not valid TOML: {error}") from None
    for key, value in overrides.items():
        if value is not None:  # of a table, only what is said
            data[key] = data[key] | value if isinstance(value, dict) and isinstance(data.get(key), dict) else value
    try:
        return msgspec.convert(data, shape)
    except msgspec.ValidationError as error:
        raise Invalid(f"{path}: {error}") from None


class LinkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[link]` table: how nodes on other machines are reached.

    nats: URLs of NATS servers (`tls://ADDRESS:4222`), as controllers and nodes reach them; none: there are no such nodes.
    controller: the name of this controller among several; empty: the host's.
    etcd: URLs of servers of one etcd (`https://ADDRESS:2379`), where controllers share who leads and which nodes live; none: the database does.
    etcd_certificate: a file with key and certificate by which etcd knows us; empty: the controller's own. etcd_ca: the authority of etcd's
    certificate; empty: the cloud's.
    """

    nats: list[str] = []
    controller: str = ""
    etcd: list[str] = []
    etcd_certificate: str = ""
    etcd_ca: str = ""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What every process of a cloud reads. app.py extends it with a table for each area.

    public_url: what links and the catalogue say; never taken from a request. Empty: http(s) at the address and port listened on.
    listen, port: where the APIs answer. region: the name of the only one. log_level: debug, info, warning or error.
    simulate: fake drivers, no root. metrics: `/metrics` on the APIs' port too, for whoever reaches it.
    tls: serve https, with a certificate of the cloud's own authority. tls_certificate: a file with one of yours instead (PEM, its chain
    after it). tls_key: the file with its key; empty: the same file. tls_ca: the file that clients should trust; empty: their system's.
    database_url: `postgresql://user@host/name`, for several controllers; empty: SQLite, a file in the home.
    audit_mib: how much of the audit log is kept, MiB; 0: none is written. project_requests_per_s: how many requests a project may make in a
    second, twice as many in a burst; 0: any number.
    """

    public_url: str = ""
    listen: str = "127.0.0.1"
    port: int = 5000
    region: str = "RegionOne"
    log_level: str = "info"
    simulate: bool = False
    metrics: bool = False
    tls: bool = False
    tls_certificate: str = ""
    tls_key: str = ""
    tls_ca: str = ""
    database_url: str = ""
    audit_mib: int = 128
    project_requests_per_s: float = 0.0
    tracing: TracingSettings = msgspec.field(default_factory=TracingSettings)
    link: LinkSettings = msgspec.field(default_factory=LinkSettings)

    def __post_init__(self) -> None:
        if not self.public_url:
            address = own_address() if self.listen in ("0.0.0.0", "::") else self.listen
            host = f"[{address}]" if ":" in address else address
            scheme = "https" if self.serves_tls else "http"
            msgspec.structs.force_setattr(self, "public_url", f"{scheme}://{host}:{self.port}")

    @property
    def serves_tls(self) -> bool:
        return self.tls or bool(self.tls_certificate)


def own_address() -> str:
    """The address that this machine would send from; loopback, when it has no route. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
