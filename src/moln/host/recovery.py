"""The last controller that is left of several: its members of engines become clusters of one, with all that they have (docs/adr/0045-quorum.md).

Each step may be repeated, and asks itself whether it was done: what was there before is written down before anything changes.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from msgspec import Struct

from moln.host import etcd, ovn_cluster, proofs, roles
from moln.host.ovs import Ovs
from moln.host.packages import have
from moln.host.places import USER, Places
from moln.host.roles import (
    CONTROLLERS_SOUTHBOUND_PORT,
    ETCD_PEER_PORT,
    ETCD_PORT,
    NATS_PORT,
    NATS_ROUTES_PORT,
    NORTHBOUND_PORT,
    NORTHBOUND_RAFT_PORT,
    PATRONI_PORT,
    POSTGRESQL_PORT,
    SOUTHBOUND_PORT,
    SOUTHBOUND_RAFT_PORT,
    Machine,
)
from moln.host.run import HostError
from moln.host.steps import Steps
from moln.host.users import own, run_module
from moln.kernel import files

PORTS = {
    ETCD_PORT: "etcd", ETCD_PEER_PORT: "etcd", POSTGRESQL_PORT: "PostgreSQL", PATRONI_PORT: "Patroni", NATS_PORT: "NATS", NATS_ROUTES_PORT: "NATS",
    NORTHBOUND_PORT: "OVN", NORTHBOUND_RAFT_PORT: "OVN", SOUTHBOUND_PORT: "OVN", SOUTHBOUND_RAFT_PORT: "OVN", CONTROLLERS_SOUTHBOUND_PORT: "OVN",
}  # fmt: skip
LOOK_S, AT_ONCE = 2.0, 32
LISTED = re.compile(r"(?:ssl:)?\[?([^\]\s,]+?)\]?:\d+(?:[\s,]|$)")  # addresses with ports, of ovn/northbound and controllers/database-hosts


class Begun(Struct, frozen=True):
    """What was there before. lost: addresses. clusters: identities of OVN's, by their files' names. authority: fingerprint of the controllers'."""

    lost: list[str]
    clusters: dict[str, str]
    authority: str


def file(places: Places) -> Path:
    return places.host / "recovery.json"


def begun(places: Places) -> Begun | None:
    """Of a recovery that did not end."""
    try:
        return msgspec.json.decode(file(places).read_bytes(), type=Begun)
    except FileNotFoundError:
        return None


def others(places: Places, machine: Machine) -> list[str]:
    """Addresses of the other controllers, as this one knew them last."""
    listed = [found for name in (places.ovn / "northbound", places.home / "controllers/database-hosts") if name.exists()
              for found in LISTED.findall(name.read_text())]  # fmt: skip
    before = begun(places)
    return sorted({*(listed or machine.peers), *(before.lost if before else ())} - {machine.address})


def answering(addresses: Sequence[str]) -> dict[str, list[int]]:
    """By address, ports of engines where somebody is; who is nowhere is left out."""
    def looked(at: tuple[str, int]) -> bool:
        try:
            socket.create_connection(at, timeout=LOOK_S).close()
        except OSError:
            return False
        return True

    places = [(address, port) for address in addresses for port in PORTS]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = [at for at, there in zip(places, pool.map(looked, places), strict=True) if there]
    return {address: ports for address in addresses if (ports := [port for a, port in found if a == address])}


def begin(places: Places, ovs: Ovs, machine: Machine, lost: Sequence[str]) -> Begun:
    """Write down what is there, unless it was. Engines are down. Raises: HostError."""
    from moln.kernel.http import succession  # its library costs time that no other command should take

    if (before := begun(places)) is not None:
        return before
    clusters = {name: ovn_cluster.cluster_id(ovs, places.ovn / f"{name}.db") for name in ovn_cluster.RAFT} if "ovn" in machine.clusters else {}
    made = Begun(sorted(lost), clusters, succession.newest(places.home / "controllers"))
    with files.appearing(file(places), replace=True) as out:  # on the disk before anything changes, whatever becomes of the machine's power
        os.write(out, msgspec.json.encode(made))
    return made


def alone(places: Places, ovs: Ovs, machine: Machine, before: Begun, steps: Steps) -> Machine:
    """The machine as it is without peers. Engines are down. Raises: HostError."""
    from moln.kernel.controllers import clusters

    joined = "" if set(clusters.NAMES) == set(machine.clusters) else machine.joined  # where it is nobody's, engines that were given are known by it
    machine = msgspec.structs.replace(machine, peers=(), joined=joined)
    roles.write(places, machine)
    with steps("The controllers' authority"):
        # Engines that were given may trust the one that there is, and no lost controller is a member of those.
        words = ["--authority", before.authority] if {"ovn", "etcd"} <= set(machine.clusters) else []
        words += ["--hosts", machine.address] if machine.postgresql else []
        if "nats" in machine.clusters:
            words += ["--jetstream", f"jetstream.before-{before.authority[:8]}"]
        run_module("moln.host.recovering", "--home", places.home, *words)
        proofs.ensure(places, machine)
    if "ovn" in machine.clusters:
        with steps("OVN's databases"):
            for name, cluster in before.clusters.items():
                if ovn_cluster.cluster_id(ovs, places.ovn / f"{name}.db") == cluster:
                    ovn_cluster.alone(ovs, machine, places.ovn / f"{name}.db")
            for name, text in ovn_cluster.remotes([machine.address]).items():
                (places.ovn / name).write_text(text)
                own(places.ovn / name, USER, USER, 0o640)
    if "etcd" in machine.clusters:
        with steps("etcd"):
            program = have(etcd.NAME) or f"/usr/bin/{etcd.NAME}"
            run_module("moln.host.recovering", "--home", places.home, "--etcd", program, "--name", machine.called, "--address", machine.address)
    return machine


def end(places: Places) -> None:
    """It is over: another one begins anew."""
    file(places).unlink(missing_ok=True)


def described(found: dict[str, list[int]]) -> str:
    """Of `answering`, for people: each engine by the first of its ports."""
    engines = {address: {PORTS[port]: port for port in reversed(ports)} for address, ports in found.items()}
    return "; ".join(f"{address} answers ({', '.join(f'{name} at port {port}' for name, port in sorted(by.items()))})" for address, by in engines.items())


def check(machine: Machine) -> None:
    """Raises: HostError."""
    if not machine.serves_nodes or not machine.clusters:
        raise HostError("This machine has no member of clusters: engines that were given, or are on another machine, are recovered there.")
