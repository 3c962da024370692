"""What a nats-server of the cloud is started with: `nats-server -c FILE`. Whoever sets up a host calls this each time before."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from moln.kernel.errors import Failure
from moln.kernel.http.certificates import Authority
from moln.kernel.link.nats_authority import NatsAuthority

FOLDER = "nats-server"


def ensure(home: Path, *, listen: str, names: frozenset[str], now: datetime) -> Path:
    """The configuration file, below the cloud's home, with a certificate that is renewed where need be (SIGHUP has it read again).

    listen: address:port. names: by which controllers and nodes call it. The keys that sign claims lie elsewhere (`home/nats`): the
    server needs none of them. It keeps accounts' claims in `accounts`. Raises: Failure.
    """
    folder = home / FOLDER
    authority = Authority(home / "tls", now)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        certificate = authority.ensure_server(folder / "server.pem", names, now)
        text = NatsAuthority(home / "nats").configuration(
            listen=listen, certificate=certificate, ca=authority.public, accounts=folder / "accounts", now_s=int(now.timestamp())
        )
        file = folder / "nats.conf"
        new = folder / ".nats.conf.new"
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(text)
        new.replace(file)
    except OSError as error:
        raise Failure(f"{folder} cannot be written ({error.strerror}).") from None
    return file
