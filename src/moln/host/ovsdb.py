"""One ovsdb-server as an engine, and what all of OVS's and OVN's programs are told."""

from __future__ import annotations

from pathlib import Path

from moln.host.ovs import Ovs
from moln.host.places import Places
from moln.host.roles import Tls
from moln.host.supervise.plan import Engine

QUIET = ["-vconsole:info", "-vsyslog:off", "-vfile:off", "-vPATTERN:console:%D{%Y-%m-%dT%H:%M:%SZ} %c %p %m"]
PROBE_MS = 10_000  # silence on a connection between machines, after which it is tried; on unix sockets nobody asks


def server(places: Places, ovs: Ovs, name: str, database: Path, *arguments: str, user: str | None, after: list[list[str]]) -> Engine:
    """With its socket beside its database."""
    socket_file = database.with_name("db.sock" if database.stem == "conf" else f"{database.stem}.sock")
    return Engine(
        name, [*ovs.command("ovsdb-server"), *QUIET, f"--unixctl={database.with_suffix('.ctl')}", f"--remote=punix:{socket_file}",
               *arguments, str(database)],
        env=places.environment(), user=user, ready_socket=str(socket_file), after=after)  # fmt: skip


def tls_options(tls: Tls, ca: str = "") -> list[str]:
    """For every program of OVN's and OVS's (ovsdb-server(1)); they read files anew that have changed. ca: instead of that of `tls`."""
    return [f"--private-key={tls.key}", f"--certificate={tls.certificate}", f"--ca-cert={ca or tls.ca}"]
