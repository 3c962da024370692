"""What a nats-server of the cloud is started with: `nats-server -c FILE`. Whoever sets up a host calls this each time before."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from moln.kernel.controllers import clusters
from moln.kernel.controllers.proof import FOLDER as CONTROLLERS
from moln.kernel.errors import Failure
from moln.kernel.http import certificates
from moln.kernel.http.certificates import Authority
from moln.kernel.link.nats_authority import NatsAuthority, Routes

FOLDER, FILE, STREAM = "nats-server", "nats.conf", "jetstream"  # STREAM: below it, what is kept of notifications
CONSUMERS = "nats/consumers"  # the authority of those outside that read notifications


def ensure(home: Path, *, listen: str, names: frozenset[str], now: datetime, notifications: bool = False,
           routes: tuple[str, Sequence[str]] | None = None) -> Path:  # fmt: skip
    """The configuration file, below the cloud's home, with a certificate that is renewed where need be (SIGHUP has it read again; the
    text stays the same as long as the keys do: a server takes no other operator without being begun anew).

    listen: address:port. names: by which controllers and nodes call it. The keys that sign claims lie elsewhere (`home/nats`): the
    server needs none of them. It keeps accounts' claims in `accounts`. notifications: keep them for others to read; those prove themselves by
    certificates of an authority of their own, which nobody else here takes. routes: this server's name in a cluster, and where its servers meet,
    address:port, this one's first; they prove themselves as controllers. Raises: Failure.
    """
    folder = home / FOLDER
    authority = Authority(home / "tls", now)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        certificate = authority.ensure_server(folder / "server.pem", names, now)
        keys, ca = NatsAuthority(home / "nats"), authority.public
        if notifications:
            ca = folder / "clients.crt"
            ca.write_bytes(authority.public.read_bytes() + consumers(home, now).public.read_bytes())
        cluster = None
        if routes is not None:
            among = Authority(home / CONTROLLERS, now)
            proof = among.ensure_server(folder / "route.pem", names, now, asks=True)
            cluster = Routes(routes[0], routes[1][0], tuple(routes[1][1:]), proof, among.public)
        text = keys.configuration(
            listen=listen, certificate=certificate, ca=ca, accounts=folder / "accounts", now_s=keys.made_s,
            stream=folder / STREAM if notifications else None, cluster=cluster,
        )
        file = folder / FILE
        new = folder / ".nats.conf.new"
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(text)
        new.replace(file)
    except OSError as error:
        raise Failure(f"{folder} cannot be written ({error.strerror}).") from None
    return file


def consumers(home: Path, now: datetime) -> Authority:
    """Of those outside that read notifications. Where each controller has a server, all have the same: a consumer goes on at another one. Raises: Failure."""
    if "nats" in clusters.names(home):
        certificates.derive(home / CONSUMERS, NatsAuthority(home / "nats").consumers, now)
    return Authority(home / CONSUMERS, now)
