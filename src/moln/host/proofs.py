"""What a controller proves itself with to nodes on other machines, and what its NATS server is started with.

python -m moln.host.proofs --home DIR --name NAME [--nats ADDRESS:PORT --as NAME…] […]: made by the user that the controller runs as, for the
folders are that user's, and root writes nothing where others may.
"""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from moln.host.places import USER, Places
from moln.host.roles import NATS_PORT, NATS_ROUTES_PORT, Machine, Tls, bracketed
from moln.host.supervise.plan import Engine
from moln.host.users import run_module

NATS = "nats-server"


def certificate(places: Places) -> Path:
    """Key and certificate of the controller as a member of its cloud."""
    return places.home / "tls/controller.pem"


def tls(places: Places) -> Tls:
    file = str(certificate(places))
    return Tls(key=file, certificate=file, ca=str(places.home / "tls/ca.crt"))


def among_controllers(places: Places) -> Tls:
    """What the controller shows to others, and to engines that are controllers' alone (kernel/controllers/proof.py)."""
    folder = places.home / "controllers"
    return Tls(key=str(folder / "controller.pem"), certificate=str(folder / "controller.pem"), ca=str(folder / "ca.crt"))


def of_postgresql(places: Places) -> Path:
    """The file with the key and the certificate by which PostgreSQL and Patroni serve, and ask each other and etcd."""
    return places.home / "controllers/postgresql.pem"


def both(places: Places) -> str:
    """The file with both authorities: of members, and of controllers among themselves."""
    return str(places.home / "controllers/both.crt")


def ensure(places: Places, machine: Machine, *, anew: bool = False) -> None:
    """Have them there and good for long. anew: PostgreSQL's is another, see kernel/controllers/database.py. Raises: HostError."""
    more = ["--nats", f"{bracketed(machine.address)}:{NATS_PORT}", "--as", machine.address, machine.called] if machine.runs_nats else []
    more += ["--etcd", machine.address] if machine.runs_etcd else []
    more += ["--clusters", *machine.clusters] if machine.clusters else []
    if machine.runs_nats and "nats" in machine.clusters:
        more += ["--routes", *(f"{bracketed(address)}:{NATS_ROUTES_PORT}" for address in (machine.address, *machine.peers))]
    more += ["--postgresql", machine.address] if machine.postgresql else []
    more += ["--anew"] if anew else []
    run_module("moln.host.proofs", "--home", places.home, "--name", machine.called, *more)


def engine(places: Places, program: str) -> Engine:
    """nats-server. It is ready when controllers and nodes find it to be: they wait for it."""
    configuration = places.home / NATS / "nats.conf"
    return Engine(NATS, [program, "-c", str(configuration)], env=places.environment(), user=USER)


def main() -> None:
    from moln.kernel import notifications
    from moln.kernel.controllers import clusters, database, proof
    from moln.kernel.errors import Failure
    from moln.kernel.etcd import server as etcd_server
    from moln.kernel.http.certificates import Authority, put
    from moln.kernel.nodes import nats_server

    parser = argparse.ArgumentParser(prog="python -m moln.host.proofs")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--nats", default="")
    parser.add_argument("--etcd", default="", metavar="ADDRESS")
    parser.add_argument("--postgresql", default="", metavar="ADDRESS")
    parser.add_argument("--anew", action="store_true", help="another certificate for PostgreSQL, in any case")
    parser.add_argument("--as", dest="names", nargs="*", default=[])
    parser.add_argument("--clusters", nargs="*", default=[], help="engines that have a member on each controller")
    parser.add_argument("--routes", nargs="*", default=[], metavar="ADDRESS:PORT", help="of NATS's servers among themselves, this one's first")
    args = parser.parse_args()
    os.umask(0o077)
    now = datetime.now(UTC)
    try:
        Authority(args.home / "tls", now).ensure_member(certificate(Places(args.home)), "controller", args.name, now)
        proof.ensure(args.home, args.name, now)
        if args.clusters and clusters.names(args.home) != tuple(args.clusters):
            put(args.home / clusters.FILE, " ".join(args.clusters).encode() + b"\n")
        if args.nats:
            known = [f"{bracketed(address)}:{NATS_ROUTES_PORT}" for address in notifications.addresses(args.home)] if args.routes else []
            nats_server.ensure(args.home, listen=args.nats, names=frozenset(args.names), now=now, notifications=notifications.wanted(args.home),
                               routes=(args.name, list(dict.fromkeys([*args.routes, *known]))) if args.routes else None)
        if args.etcd:
            etcd_server.ensure(args.home, frozenset({args.etcd}), now)
        if args.postgresql:
            database.ensure(args.home, args.postgresql, now, anew=args.anew)
    except Failure as failure:
        sys.exit(failure.message)


if __name__ == "__main__":
    main()
