"""Asks every node how full its pool is, and checks that pools, rows and quota agree."""

from __future__ import annotations

import logging

from moln.kernel.cloud import Cloud
from moln.kernel.errors import BackendRefused, BackendUnreachable
from moln.kernel.module import Invariant, Violation
from moln.kernel.quota import ALL_USAGES
from moln.kernel.work import Periodic, Work
from moln.volume.drivers.base import VolumeDriver
from moln.volume.model.volumes import VolumeStatus
from moln.volume.ops.attachments import status_between
from moln.volume.ops.pools import pools_of
from moln.volume.store import attachments, backups, groups, snapshots, volumes
from moln.volume.work.snapshots import deadline as snapshot_deadline
from moln.volume.work.volumes import deadline as volume_deadline

EVERY_S = 30.0
_log = logging.getLogger("moln.volume")


async def look(work: Work) -> None:
    """Every node's pool, once."""
    for node in sorted(work.cloud.links.nodes):
        await look_at(work.cloud, node)


async def look_at(cloud: Cloud, node: str) -> None:
    """One node's pool; one that does not answer keeps what it said last, and its age tells."""
    known = pools_of(cloud)
    try:
        known.seen[node] = await cloud.links.driver(node, "volume", VolumeDriver, deadline_s=10).pool()
        known.at[node] = cloud.clock.now_us()
    except (BackendRefused, BackendUnreachable) as lost:
        _log.info("the pool of %s does not answer: %s", node, lost.message)


POOLS = Periodic("volume-pools", look, EVERY_S, everywhere=True)  # what it finds is kept in memory


async def check_files(cloud: Cloud) -> list[Violation]:
    """Every settled volume and snapshot is in its node's pool, and the pool holds nothing else."""
    rows = {v.id: v for v in await cloud.db.all(volumes.ON_HOSTS)}
    taken = {s.id: s for s in await cloud.db.all(snapshots.ON_HOSTS)}
    copies = await cloud.db.all(backups.ALL)
    found = []
    for node in sorted(cloud.links.nodes):
        try:
            held = await cloud.links.driver(node, "volume", VolumeDriver, deadline_s=20).inventory()
        except (BackendRefused, BackendUnreachable) as lost:
            found.append(Violation(f"The pool of node {node} does not answer: {lost.message}", "See the node's log."))
            continue
        made = {v.id for v in rows.values() if v.host == node and v.status not in UNMADE}
        kept = {s.id for s in taken.values() if s.host == node and s.status == "available"}
        found += [
            Violation(f"Node {node} holds the volume {i}, which no row names.", f"On {node}: remove pool/volumes/{i} below the home.")
            for i in sorted(set(held.volumes) - rows.keys())
        ]
        found += [
            Violation(f"Node {node} holds the snapshot {i}, which no row names.", f"On {node}: remove pool/snapshots/{i} below the home.")
            for i in sorted(set(held.snapshots) - taken.keys())
        ]
        named = {b.object_id for b in copies}
        found += [
            Violation(f"Node {node} holds the backup {i}, which no row names.", f"On {node}: remove pool/backups/{i} below the home.")
            for i in sorted(set(held.backups) - named)
        ]
        found += [
            Violation(f"Backup {b.id} is missing on node {node}.", "Restore its folder, or delete it.")
            for b in copies if b.host == node and b.status == "available" and b.object_id not in held.backups
        ]
        found += [
            Violation(f"Volume {i} is missing on node {node}.", "Restore its file, or set its status to error and delete it.")
            for i in sorted(made - set(held.volumes))
        ]
        found += [
            Violation(f"Snapshot {i} is missing on node {node}.", "Restore its file, or delete it.")
            for i in sorted(kept - set(held.snapshots))
        ]
    return found


UNMADE = {VolumeStatus.CREATING, VolumeStatus.DELETING, VolumeStatus.ERROR, VolumeStatus.ERROR_DELETING}


async def check_quota(cloud: Cloud) -> list[Violation]:
    """What the counters say is what the rows count."""
    counted: dict[tuple[str, str], int] = {}
    for table, name in ((volumes.USE, "volumes"), (snapshots.USE, "snapshots")):
        for use in await cloud.db.all(table):
            counted[use.project_id, name] = use.count
            counted[use.project_id, "gigabytes"] = counted.get((use.project_id, "gigabytes"), 0) + use.gib
    for use in await cloud.db.all(backups.USE):
        counted[use.project_id, "backups"], counted[use.project_id, "backup_gigabytes"] = use.count, use.gib
    for row in await cloud.db.all(groups.USE):
        counted[row["project_id"], "groups"] = row["count"]
    for volume in await volumes.unsettled(cloud.db, 0):
        if volume.next_size_gib:
            counted[volume.project_id, "gigabytes"] += volume.next_size_gib - volume.size_gib
    used = {(r["project_id"], r["resource"]): r["used"] for r in await cloud.db.all(ALL_USAGES, service="volume")}
    return [
        Violation(f"Project {p} is charged for {used.get((p, r), 0)} {r} and has {counted.get((p, r), 0)}.", "Report this as a bug.")
        for p, r in sorted(used.keys() | counted.keys())
        if used.get((p, r), 0) != counted.get((p, r), 0)
    ]


async def check_attachments(cloud: Cloud) -> list[Violation]:
    """A volume that is in use has an attachment, and one that is available has none."""
    found = []
    for volume in await cloud.db.all(volumes.ON_HOSTS):
        if volume.status not in (VolumeStatus.AVAILABLE, VolumeStatus.IN_USE, VolumeStatus.RESERVED):
            continue
        status = status_between(await attachments.of_volume(cloud.db, volume.id))
        if status is not volume.status:
            mend = f"openstack volume set --state {status} {volume.id}"
            found.append(Violation(f"Volume {volume.id} is {volume.status}; its attachments make it {status}.", mend))
    return found


async def check_deadlines(cloud: Cloud) -> list[Violation]:
    """Nothing is under way for longer than its deadline, and a minute."""
    late = cloud.clock.now_us() - 60_000_000
    found = []
    for volume in await volumes.unsettled(cloud.db, 0):
        if volume_deadline(volume) < late:
            found.append(Violation(f"Volume {volume.id} is still {volume.status}.", "See the controller's log for `volumes`."))
    for snapshot in await snapshots.unsettled(cloud.db, 0):
        if snapshot_deadline(snapshot) < late:
            mend = "See the controller's log for `volume-snapshots`."
            found.append(Violation(f"Snapshot {snapshot.id} is still {snapshot.status}.", mend))
    return found


INVARIANTS = (
    Invariant("no volume or snapshot is past its deadline", check_deadlines),
    Invariant("pools hold what volume and snapshot rows say", check_files),
    Invariant("volume quota used is what rows count", check_quota),
    Invariant("volumes' statuses match their attachments", check_attachments),
)
