"""Engines that speak TLS to other machines are told that authorities or certificates are others. Whoever can goes on meanwhile.

nats-server and PostgreSQL read theirs at SIGHUP; etcd knows its authorities from its start on. OVN's servers read certificates and new authorities by
themselves, but forget none until they end; chassis and northd come back within a second, and flows stay.
"""

from __future__ import annotations

import signal

from moln.host import control, proofs, roles
from moln.host.places import Places
from moln.host.roles import Machine
from moln.host.supervise.processes import Identity, send

READ_AT_HUP = (proofs.NATS, "postgresql")
ENGINES_S = 60.0


def reread(places: Places, machine: Machine, *, dropped: bool, anew: bool = False) -> None:
    """dropped: an authority is trusted no more. anew: nobody stays connected as what he was let in. Where nothing runs, nothing is done.

    Raises: HostError; TimeoutError, when one of them is not there again.
    """
    if not machine.serves_nodes or not places.supervisor_socket.exists():
        return
    configuration = places.home / proofs.NATS / "nats.conf"
    before = configuration.read_bytes() if configuration.exists() else b""
    proofs.ensure(places, machine, anew=True)
    changed = configuration.exists() and configuration.read_bytes() != before
    restarted = ["etcd", *(("ovsdb-nb", "ovsdb-sb", "ovsdb-nodes") if dropped else ()), *(READ_AT_HUP if anew else ())]
    if changed and not anew:
        restarted.append(proofs.NATS)
    for name in READ_AT_HUP:
        if name not in restarted:
            hang_up(places, name)
    begin_anew(places, [name for name in restarted if name in roles.engines(machine)])


def begin_anew(places: Places, names: list[str]) -> None:
    """Until they are ready. Raises: TimeoutError; NotRunning."""
    starts = {engine["name"]: engine["starts"] for engine in control.status(places)["engines"]}
    control.restart(places, names)
    control.wait_until(
        places, lambda state: control.all_ready(state) and all(e["starts"] > starts[e["name"]] for e in state["engines"] if e["name"] in names),
        timeout_s=ENGINES_S,
    )  # fmt: skip


def hang_up(places: Places, name: str) -> None:
    """SIGHUP to an engine of this cloud, if it runs."""
    found = Identity.read(places.supervised / f"{name}.pid")
    if found is not None and (fd := found.open()) is not None:
        send(fd, signal.SIGHUP)
