"""OVN's two databases as clusters (RAFT), with a member on each controller (docs/adr/0045-quorum.md).

Members, and northd of each controller, know each other by the controllers' own authority. An ovsdb-server trusts one authority at all of its
ports, and whoever speaks RAFT to it may write anything: so nodes come to a relay beside the member, which trusts theirs and knows OVN's role for
chassis. Where it listens is a database of each server's own (`Local_Config`, ovsdb-server(1)): the southbound database's `connections` are all
members'.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from moln.host import proofs
from moln.host.ovs import Ovs
from moln.host.ovsdb import PROBE_MS, QUIET, server, tls_options
from moln.host.places import USER, Places
from moln.host.roles import (
    CONTROLLERS_SOUTHBOUND_PORT,
    NORTHBOUND_PORT,
    NORTHBOUND_RAFT_PORT,
    SOUTHBOUND_PORT,
    SOUTHBOUND_RAFT_PORT,
    Machine,
    bracketed,
)
from moln.host.run import run, succeeds
from moln.host.supervise.plan import Engine
from moln.host.users import own

LISTENS = "--remote=db:Local_Config,Config,connections"
RAFT = {"nb": ("OVN_Northbound", "NB_Global", NORTHBOUND_RAFT_PORT), "sb": ("OVN_Southbound", "SB_Global", SOUTHBOUND_RAFT_PORT)}
NORTHD = 'exec "$@" --ovnnb-db="$(cat {folder}/northbound)" --ovnsb-db="$(cat {folder}/southbound)"'


def is_clustered(ovs: Ovs, file: Path) -> bool:
    return succeeds(*ovs.command("ovsdb-tool"), "db-is-clustered", file)


def ensure_databases(places: Places, ovs: Ovs, machine: Machine) -> None:
    """This machine's members: of a new cluster, with what a standalone database says where there is one; or of its peers'. Where each listens.

    Only while the servers are down. Raises: HostError.
    """
    for name in RAFT:
        file = places.ovn / f"{name}.db"
        if not (file.exists() and is_clustered(ovs, file)):
            _make(ovs, machine, file)
    at = bracketed(machine.address)
    _listen(ovs, places.ovn / "nb-local.db", f"pssl:{NORTHBOUND_PORT}:{at}")
    _listen(ovs, places.ovn / "sb-local.db", f"pssl:{CONTROLLERS_SOUTHBOUND_PORT}:{at}")
    _listen(ovs, places.ovn / "nodes.db", f"pssl:{SOUTHBOUND_PORT}:{at}", role="ovn-controller")
    addresses = [machine.address, *machine.peers]
    for file_name, text in remotes(addresses).items():  # the controller knows better, once it runs
        if not (file := places.ovn / file_name).exists():
            file.write_text(text)
            own(file, USER, USER, 0o640)


def remotes(addresses: Sequence[str]) -> dict[str, str]:
    """Where northd finds the databases, by the files that say so. It has to reach the leaders, for OVN's lock is theirs; this machine's own it
    reaches by TLS as well: were the first remote a socket, it would never notice that another machine has gone silent. addresses: of all members.
    """
    at = [bracketed(address) for address in addresses]
    return {"northbound": ",".join(f"ssl:{a}:{NORTHBOUND_PORT}" for a in at), "southbound": ",".join(f"ssl:{a}:{CONTROLLERS_SOUTHBOUND_PORT}" for a in at)}


def _make(ovs: Ovs, machine: Machine, file: Path) -> None:
    if not machine.peers:
        if file.exists():
            file.replace(file.with_suffix(".standalone"))  # kept: what an older version, or the first start, had
        _begin(ovs, machine, file)
        return
    database, _, port = RAFT[file.stem]
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    run(*ovs.command("ovsdb-tool"), "join-cluster", new, database, *(f"ssl:{bracketed(at)}:{port}" for at in (machine.address, *machine.peers)))
    _put(new, file)


def _begin(ovs: Ovs, machine: Machine, file: Path) -> None:
    """A cluster of one, with what the standalone database beside it has."""
    tool, (database, top, port) = ovs.command("ovsdb-tool"), RAFT[file.stem]
    new, alone = file.with_suffix(".new"), file.with_suffix(".standalone")
    new.unlink(missing_ok=True)
    if not alone.exists():
        run(*tool, "create", alone, ovs.schema(f"ovn-{file.stem}"))
    elif run(*tool, "needs-conversion", alone, ovs.schema(f"ovn-{file.stem}")).strip() == "yes":
        run(*tool, "convert", alone, ovs.schema(f"ovn-{file.stem}"))
    found = json.loads(run(*tool, "query", alone, json.dumps([database, {"op": "select", "table": top, "where": []}])))
    if not found[0]["rows"]:
        run(*tool, "transact", alone, json.dumps([database, {"op": "insert", "table": top, "row": {}}]))
    forgotten = {"op": "update", "table": top, "where": [], "row": {"connections": ["set", []]}}
    run(*tool, "transact", alone, json.dumps([database, forgotten]))
    run(*tool, "create-cluster", new, alone, f"ssl:{bracketed(machine.address)}:{port}")
    _put(new, file)


def _put(new: Path, file: Path) -> None:
    own(new, USER, USER, 0o640)
    new.replace(file)
    _own_lock(file)


def cluster_id(ovs: Ovs, file: Path) -> str:
    """Which cluster a member is of. Raises: HostError."""
    return run(*ovs.command("ovsdb-tool"), "db-cid", file).strip()


def alone(ovs: Ovs, machine: Machine, file: Path) -> None:
    """Another cluster, of this member alone, with all that it has (ovsdb-tool(1), cluster-to-standalone). Its file of before stays beside. Only while its server
    is down; at each moment one or the other is there. Raises: HostError."""
    new, kept = file.with_suffix(".new"), file.with_suffix(".before-recovery")
    new.unlink(missing_ok=True)
    run(*ovs.command("ovsdb-tool"), "cluster-to-standalone", new, file)
    new.replace(file.with_suffix(".standalone"))
    kept.unlink(missing_ok=True)
    kept.hardlink_to(file)
    _begin(ovs, machine, file)


def _listen(ovs: Ovs, file: Path, target: str, role: str = "") -> None:
    """A database that says where one server listens."""
    tool, new = ovs.command("ovsdb-tool"), file.with_suffix(".new")
    new.unlink(missing_ok=True)
    run(*tool, "create", new, ovs.schema("local-config"))
    made = {"target": target, "inactivity_probe": 6 * PROBE_MS, "role": role}
    run(*tool, "transact", new, json.dumps(["Local_Config",
        {"op": "insert", "table": "Connection", "uuid-name": "made", "row": made},
        {"op": "insert", "table": "Config", "row": {"connections": ["named-uuid", "made"]}}]))  # fmt: skip
    _put(new, file)


def _own_lock(file: Path) -> None:
    for name in (file.name, file.with_suffix(".new").name):
        if (lock := file.with_name(f".{name}.~lock~")).exists():
            own(lock, USER, USER, 0o600)


def engines(places: Places, ovs: Ovs, machine: Machine) -> list[Engine]:
    """A server of each database, the relay that nodes come to, and northd."""
    ovn, among = places.ovn, tls_options(proofs.among_controllers(places))
    assert machine.tls is not None
    northd = [*ovs.command("ovn-northd"), *QUIET, f"--unixctl={ovn}/northd.ctl", *among]
    members = [server(places, ovs, f"ovsdb-{name}", ovn / f"{name}.db", LISTENS, *among, str(ovn / f"{name}-local.db"), user=USER,
                      after=[_convert(places, ovs, name)]) for name in RAFT]  # fmt: skip
    return [
        *members,
        server(places, ovs, "ovsdb-nodes", ovn / "nodes.db", LISTENS, *tls_options(machine.tls), f"relay:OVN_Southbound:unix:{places.sb_socket}",
               user=USER, after=[]),
        Engine("ovn-northd", ["/bin/sh", "-c", NORTHD.format(folder=ovn), "sh", *northd], env=places.environment(), user=USER,
               needs=["ovsdb-nb", "ovsdb-sb"], ready_socket=f"{ovn}/northd.ctl"),
    ]  # fmt: skip


def _convert(places: Places, ovs: Ovs, name: str) -> list[str]:
    """The command that brings a cluster to this OVN's schema, once all answer; without a quorum, or before this member joined, later is early enough."""
    client, schema = [*ovs.command("ovsdb-client"), "--timeout=5"], str(ovs.schema(f"ovn-{name}"))
    words = 'socket=$1 schema=$2; shift 2; test "$("$@" needs-conversion "$socket" "$schema")" != yes || "$@" convert "$socket" "$schema" || true'
    return ["/bin/sh", "-c", words, "sh", f"unix:{places.ovn}/{name}.sock", schema, *client]
