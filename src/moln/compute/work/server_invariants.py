"""What must hold between servers, their hosts, ports, volumes, claims and quota."""

from __future__ import annotations

from moln.compute.drivers.base import ComputeDriver
from moln.compute.model.moves import Leftover, MoveKind
from moln.compute.model.servers import Server, VmState
from moln.compute.ops import hosts
from moln.compute.ops.quotas import COUNTED, QUOTA
from moln.compute.store import leftovers
from moln.compute.store import servers as store
from moln.compute.store.server_groups import COUNT
from moln.kernel.cloud import Cloud
from moln.kernel.errors import BackendRefused, BackendUnreachable, NotFound
from moln.kernel.module import Invariant, Violation
from moln.kernel.quota import ALL_USAGES
from moln.network.ops import ports
from moln.placement.ops import allocations
from moln.volume.ops import attachments

REMOVE_BY_HAND = "If you did not put it there for a purpose, remove it by hand; the cloud does not touch what is not its own."


async def _all(cloud: Cloud) -> list[Server]:
    return await cloud.db.all(store.ALL)


async def quota_matches(cloud: Cloud) -> list[Violation]:
    """Used instances, cores and RAM are the sums over the servers that there are; server groups are those that there are."""
    sums: dict[str, dict[str, int]] = {row["project_id"]: {"server_groups": row["count"]} for row in await cloud.db.all(COUNT)}
    for s in await _all(cloud):
        of = sums.setdefault(s.project_id, {})
        for name, n in s.charged.items():
            of[name] = of.get(name, 0) + n
    out = []
    counted: dict[str, dict[str, int]] = {}
    for row in await cloud.db.all(ALL_USAGES, service=QUOTA.service):
        counted.setdefault(row["project_id"], {})[row["resource"]] = row["used"]
    for project in sorted(counted.keys() | sums.keys()):
        for name in COUNTED:
            uses, says = sums.get(project, {}).get(name, 0), counted.get(project, {}).get(name, 0)
            if uses != says:
                out.append(Violation(f"Project {project} uses {uses} of {name}, its counter says {says}."))
    return out


async def claims_match(cloud: Cloud) -> list[Violation]:
    """Every server with a host holds its claim; no claim is held by a server that is gone."""
    ctx = cloud.system_context()
    held: set[str] = set()
    lost: list[Violation] = []
    for host in list(hosts.table(cloud).hosts.values()):
        try:
            held |= {h.consumer_id for h in (await allocations.of_provider(ctx, host.id))[1]}
        except NotFound:  # placement lets administrators delete it when nothing is allocated there
            lost.append(Violation(f"Host {host.name} has no resource provider {host.id}: nothing can be placed on it."))
    servers = await _all(cloud)
    wanted = {s.id for s in servers if s.host is not None} | {s.resize.migration_id for s in servers if s.resize is not None}
    wanted |= {s.move.migration_id for s in servers if s.move is not None and s.move.kind is MoveKind.LIVE}
    wanted |= {left.claim for left in await leftovers.everywhere(cloud.db) if left.claim}
    out = lost + [Violation(f"Server {i} runs without an allocation.") for i in sorted(wanted - held)]
    return out + [Violation(f"The allocation of {i} belongs to no server.") for i in sorted(held - wanted)]


async def ports_match(cloud: Cloud) -> list[Violation]:
    """Every port of a server, present or past, is one that the server knows; and the other way round."""
    servers = await _all(cloud)
    known = {n.port_id: s.id for s in servers for n in s.nics}
    there = await ports.of_devices(cloud.db, [s.id for s in servers] + await store.past_ids(cloud.db))
    out = [
        Violation(f"Port {p.id} says it is of server {p.device_id}, which does not know it.", f"openstack port delete {p.id}")
        for p in there if known.get(p.id) != p.device_id
    ]  # fmt: skip
    leaving = {n.port_id for s in servers for n in s.nics if n.state == "detaching"}  # its owner deleted it; the card follows
    missing = known.keys() - {p.id for p in there} - leaving
    return out + [Violation(f"Server {known[i]} has a card for port {i}, which does not exist.") for i in sorted(missing)]


async def volumes_match(cloud: Cloud) -> list[Violation]:
    """Every attachment to a server, present or past, is one that the server knows; and the other way round."""
    servers = await _all(cloud)
    known = {v.attachment_id: s.id for s in servers for v in s.volumes}
    held: dict[str, str] = {}
    for server_id in [s.id for s in servers] + await store.past_ids(cloud.db):
        held |= {a.id: server_id for a in await attachments.of_server(cloud.db, server_id)}
    out = [Violation(f"Server {known[i]} has no such attachment as {i}.") for i in sorted(known.keys() - held.keys())]
    return out + [Violation(f"Attachment {i} of server {held[i]} is unknown to the server.") for i in sorted(held.keys() - known.keys())]


async def hosts_match(cloud: Cloud) -> list[Violation]:
    """A hypervisor holds no server, disk, tap or file that no row names; every row that is ACTIVE has its server there."""
    rows: dict[str, list[Server]] = {}
    for s in await _all(cloud):
        for host in {s.host, s.other_host} - {None}:
            rows.setdefault(host, []).append(s)  # type: ignore[arg-type]
    left: dict[str, list[Leftover]] = {}
    for leftover in await leftovers.everywhere(cloud.db):
        left.setdefault(leftover.host, []).append(leftover)
    out = []
    quiet = {h.name for h in hosts.table(cloud).hosts.values() if h.maintenance}
    for node in sorted(cloud.links.nodes - quiet):
        try:
            held = await cloud.links.driver(node, "compute", ComputeDriver, deadline_s=20).inventory()
        except (BackendUnreachable, BackendRefused) as lost:
            out.append(Violation(f"Host {node} does not answer: {lost.message}"))
            continue
        here = rows.get(node, [])
        ids, disks, cards = {s.id for s in here}, {d for s in here for d in s.disk_ids}, {n.port_id for s in here for n in s.nics}
        ids |= {gone.server_id for gone in left.get(node, [])}
        disks |= {d for gone in left.get(node, []) for d in gone.disks}
        known = hosts.table(cloud).hosts.get(node)
        if known is not None and known.shared_disks:  # each host sees everybody's
            disks |= {d for some in rows.values() for s in some for d in s.disk_ids}
            disks |= {d for some in left.values() for gone in some for d in gone.disks}
        out += [
            Violation(f"Host {node} has the unknown server {i}.", f"On {node}: virsh destroy moln-{i}; virsh undefine moln-{i}")
            for i in sorted(set(held.servers) - ids)
        ]  # fmt: skip
        out += [
            Violation(f"Host {node} has the unknown disk {i}.", f"On {node}: remove pool/disks/{i} below the home.")
            for i in sorted(set(held.disks) - disks)
        ]  # fmt: skip
        out += [
            Violation(f"Host {node} has a tap for {i}, a port of no server here.", f"On {node}: ovs-vsctl del-port tap{i[:11]}; ip link del tap{i[:11]}")
            for i in sorted(set(held.ports) - cards)
        ]  # fmt: skip
        out += [
            Violation(f"Host {node} has files of the unknown server {i}.", f"On {node}: remove host/node/servers/{i} below the home.")
            for i in sorted(set(held.folders) - ids - set(held.servers))
        ]  # fmt: skip
        out += [Violation(f"Host {node} has {what}, which is not the cloud's.", REMOVE_BY_HAND) for what in held.strays]
        out += [
            Violation(f"Server {s.id} is active, but not on its host {node}.")
            for s in here if s.vm_state is VmState.ACTIVE and s.host == node and s.id not in held.servers
        ]  # fmt: skip
    return out


async def nothing_is_stuck(cloud: Cloud) -> list[Violation]:
    """Whatever is being done ends by its deadline."""
    now = cloud.clock.now_us()
    late = [s for s in await _all(cloud) if s.unsettled and s.deadline is not None and s.deadline + 300_000_000 < now]
    return [Violation(f"Server {s.id} is {s.status} ({s.task_state}) beyond its deadline.") for s in late]


async def clocks_agree(cloud: Cloud) -> list[Violation]:
    """No node's clock is further off than allowed; such a node takes no new servers."""
    strays = [h for h in hosts.table(cloud).hosts.values() if h.up and h.astray and not h.maintenance]
    return [Violation(f"The clock of {h.name} is off: {h.astray}.", "have chrony keep it: chronyc makestep, on that node") for h in strays]


INVARIANTS = (
    Invariant("servers: quota", quota_matches),
    Invariant("servers: allocations", claims_match),
    Invariant("servers: ports", ports_match),
    Invariant("servers: volumes", volumes_match),
    Invariant("servers: hosts", hosts_match),
    Invariant("servers: deadlines", nothing_is_stuck),
    Invariant("hosts: clocks", clocks_agree),
)
