"""Why a server is where it is, or nowhere: for `moln explain`."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from moln.compute.model import wishes
from moln.compute.model.servers import Server
from moln.compute.ops import scheduling
from moln.compute.store import server_groups
from moln.compute.store import servers as store
from moln.kernel.cloud import Cloud
from moln.kernel.errors import Conflict
from moln.network.ops import reach


async def server(cloud: Cloud, id_or_name: str) -> dict[str, Any]:
    """`{"summary": text, "hosts": [{"host": name, "verdict": text}]}`: what every host would say to it now.

    Raises: NotFound; Conflict, when several have the name.
    """
    found = await store.find(cloud.db, id_or_name)
    if found is None:
        named = await cloud.db.all(store.NAMED, name=id_or_name)
        if not named:
            raise store.missing(id_or_name)
        if len(named) > 1:
            raise Conflict(f"Several servers are called {id_or_name!r}; name one by its id.")
        found = named[0]
    avoid, beside = await scheduling.beside(cloud.db, found.scheduler_hints)
    wanted = wishes.wanted(
        vcpus=found.flavor.vcpus, ram_mib=found.flavor.ram, disk_gib=local_gib(found), exclude=avoid, same_as=beside,
        cut_off=await reach.cut_off_from(cloud.db, {nic.network_id for nic in found.nics}),
        extra_specs=found.flavor.extra_specs, image_properties=found.image_properties, availability_zone=found.pinned_az,
    )  # fmt: skip
    group = await server_groups.of_server(cloud.db, found.id)
    if group is not None:
        wanted = structs.replace(wanted, group=await server_groups.companions(cloud.db, group, but=found.id))
    hosts = []
    for host, why in scheduling.explain_all(cloud, wanted):
        verdict = "fits" if why is None else why.kind + (f" ({why.detail})" if why.detail else "")
        hosts.append({"host": host.name, "verdict": "runs the server" if host.name == found.host else verdict})
    text = summary(found) + (f" It is in the group {group.name} ({group.policy})." if group is not None else "")
    return {"summary": text, "hosts": sorted(hosts, key=lambda h: h["host"])}


def local_gib(found: Server) -> int:
    """What its own disks take of a host; one that found no host never had any."""
    if found.host is not None:
        return sum(d.size_gib for d in found.disks)
    flavor = found.flavor
    return (flavor.disk if found.image_id else 0) + flavor.ephemeral + -(-flavor.swap // 1024)


def summary(found: Server) -> str:
    flavor = found.flavor
    what = f"Server {found.name} ({found.id}) is {found.status}"
    if found.task_state:
        what += f" ({found.task_state})"
    what += f"; it wants {flavor.vcpus} vCPU, {flavor.ram} MiB RAM, {local_gib(found)} GiB disk"
    what += f" and is on {found.host}." if found.host else " and is on no host."
    if found.fault:
        what += f" {found.fault.message}"
    return what
