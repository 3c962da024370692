"""What an etcd of the cloud is started with. Whoever sets up a host calls this each time before."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from moln.kernel.controllers.proof import FOLDER as CONTROLLERS
from moln.kernel.errors import Failure
from moln.kernel.http.certificates import Authority

FOLDER = "etcd-server"


def ensure(home: Path, names: frozenset[str], now: datetime) -> Path:
    """The file with its key and certificate, renewed where need be: etcd reads it at each handshake. names: by which controllers call it.

    It serves as a client's, too: etcd's gateway asks etcd, and its servers each other. Raises: Failure.
    """
    folder = home / FOLDER
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise Failure(f"{folder} cannot be written ({error.strerror}).") from None
    return Authority(home / CONTROLLERS, now).ensure_server(folder / "server.pem", names, now, asks=True)


def arguments(home: Path, name: str, host: str, client_port: int, peer_port: int, cluster: dict[str, str] | None = None) -> list[str]:
    """etcd's own. host: where it listens, bracketed. cluster: all members' peer URLs by name, where it joins one that exists; None: it begins."""
    folder = home / FOLDER
    client, peer = f"https://{host}:{client_port}", f"https://{host}:{peer_port}"
    pem, ca = str(folder / "server.pem"), str(home / CONTROLLERS / "ca.crt")
    members = ",".join(f"{n}={u}" for n, u in (cluster or {name: peer}).items())
    proofs = [word for prefix in ("", "peer-") for word in (
        f"--{prefix}cert-file={pem}", f"--{prefix}key-file={pem}", f"--{prefix}client-cert-auth", f"--{prefix}trusted-ca-file={ca}",
    )]  # fmt: skip
    return [
        f"--name={name}", f"--data-dir={folder / 'data'}", f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster={members}",
        f"--initial-cluster-state={'existing' if cluster else 'new'}", *proofs,
        "--auto-compaction-mode=periodic", "--auto-compaction-retention=1h", "--logger=zap",
    ]  # fmt: skip
