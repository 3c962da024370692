"""The controller's user's part of recovery.py: another authority of controllers, and etcd as a cluster of this member alone.

python -m moln.host.recovering --home DIR [--authority FINGERPRINT] [--hosts ADDRESS] [--jetstream NAME] [--etcd PROGRAM --name NAME --address ADDRESS]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import os
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from moln.host.roles import ETCD_PEER_PORT, ETCD_PORT, bracketed
from moln.kernel.controllers import database, heritage, lone, proof
from moln.kernel.errors import Failure, Unavailable
from moln.kernel.etcd import leaders, server
from moln.kernel.etcd.gateway import PREFIX, Etcd
from moln.kernel.http import certificates, succession
from moln.kernel.http.certificates import COMING, NEXT, SIGNING
from moln.kernel.nodes import nats_server

FORCE_S, LOOK_S, END_S = 40.0, 0.2, 10.0
STALE = (PREFIX + leaders.BORN, lone.SCOPE + "leader")
"""Keys that must go. Without the first, tokens of leaders are counted from now on (kernel/etcd/leaders.py): what this member had not heard of may have been
higher than its own revision. The second is the lease of a PostgreSQL that is lost, which would last for some time more."""


def authority(home: Path, before: str, now: datetime) -> None:
    """Another one in the place of the one with this fingerprint, so that no lost controller is let in by any engine; certificates follow
    (host/proofs.py). Raises: Failure."""
    folder = home / proof.FOLDER
    _, found = certificates.read(folder / SIGNING)
    try:
        if found is not None and succession.fingerprint(found) == before:
            for name in (NEXT, COMING):
                (folder / name).unlink(missing_ok=True)
            certificates.put(folder / SIGNING, certificates.new_authority(now))
    except OSError as error:
        raise Failure(f"Another authority cannot be kept in {folder} ({error.strerror}).") from None


def set_aside(home: Path, name: str) -> None:
    """What NATS keeps of notifications, under this name beside it: it takes no other servers without those that are lost, as more than half of all have to agree.
    It begins anew when two others have joined. Raises: Failure."""
    folder = home / nats_server.FOLDER
    kept, there = folder / name, folder / nats_server.STREAM
    try:
        if there.exists() and not kept.exists():
            there.rename(kept)
    except OSError as error:
        raise Failure(f"{there} cannot be renamed ({error.strerror}).") from None


async def alone(home: Path, program: str, name: str, address: str) -> None:
    """etcd runs once with `--force-new-cluster` (its guide to disaster recovery) until it is its own cluster. Raises: Failure."""
    at = bracketed(address)
    words = server.arguments(home, name, at, ETCD_PORT, ETCD_PEER_PORT)
    folder = home / proof.FOLDER

    def tls() -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=folder / "ca.crt")
        context.load_cert_chain(folder / "controller.pem")
        return context

    etcd = Etcd([f"https://{at}:{ETCD_PORT}"], tls)
    with tempfile.TemporaryFile() as said:
        async with _runs([program, *words, "--force-new-cluster"], said) as process:
            await _until_alone(etcd, process, said)
            for key in STALE:
                await etcd.call("/v3/kv/deleterange", {"key": base64.b64encode(key.encode()).decode()})


@contextlib.asynccontextmanager
async def _runs(words: Sequence[str], out: IO[bytes]) -> AsyncIterator[asyncio.subprocess.Process]:
    """It ends with this process, however that ends."""
    process = await asyncio.create_subprocess_exec("setpriv", "--pdeathsig", "KILL", *words, stdout=out, stderr=out)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), END_S)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _until_alone(etcd: Etcd, process: asyncio.subprocess.Process, said: IO[bytes]) -> None:
    """Raises: Failure."""
    ends, why = time.monotonic() + FORCE_S, "it does not answer"
    while time.monotonic() < ends and process.returncode is None:
        try:
            members = (await etcd.call("/v3/cluster/member/list", {})).get("members", [])
            if len(members) == 1:
                return
            why = f"it has {len(members)} members"
        except Unavailable as down:
            why = down.message
        await asyncio.sleep(LOOK_S)  # etcd tells nobody when it is ready
    said.seek(0)
    last = said.read().decode("utf-8", "replace").strip().splitlines()[-3:]
    raise Failure(f"etcd could not be made a cluster of this member alone: {why} {' '.join(last)}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m moln.host.recovering")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--authority", default="", metavar="FINGERPRINT")
    parser.add_argument("--hosts", default="", metavar="ADDRESS")
    parser.add_argument("--jetstream", default="", metavar="NAME")
    parser.add_argument("--etcd", default="", metavar="PROGRAM")
    parser.add_argument("--name", default="")
    parser.add_argument("--address", default="")
    args = parser.parse_args()
    os.umask(0o077)
    try:
        if args.authority:
            authority(args.home, args.authority, datetime.now(UTC))
        if args.hosts:
            heritage.put(args.home / heritage.HOSTS, database.listed([args.hosts]).encode(), args.home)
        if args.jetstream:
            set_aside(args.home, args.jetstream)
        if args.etcd:
            asyncio.run(alone(args.home, args.etcd, args.name, args.address))
    except Failure as failure:
        sys.exit(failure.message)


if __name__ == "__main__":
    main()
