"""From a server's row to what its hypervisor must know."""

from __future__ import annotations

from moln.compute.drivers.base import Card, ComputeDriver, Disk, ServerSpec
from moln.compute.model.servers import Attached, Nic, Server
from moln.compute.ops import metadata
from moln.kernel.errors import BackendRefused, NotFound
from moln.kernel.work import Later, Work
from moln.volume.model.volumes import VolumeStatus
from moln.volume.ops import attachments, for_compute, volumes
from moln.volume.ops.for_compute import Holder

_waiting: dict[str, str] = {}  # volume to the server that waits for it: so that its news wakes the server at once

CALL_S = 120.0  # seconds a hypervisor may take for one verb


def driver_of(work: Work, server: Server, deadline_s: float = CALL_S) -> ComputeDriver:
    """The hypervisor of the server's host, fenced by the server's generation. Raises: BackendRefused, when it has no host."""
    if server.host is None:
        raise BackendRefused("The server has no host.")
    return work.driver(
        server.host, "compute", ComputeDriver, resource=f"server:{server.id}", generation=server.generation, deadline_s=deadline_s
    )


async def volume_disk(work: Work, server: Server, attached: Attached) -> Disk:
    """How the hypervisor opens a volume. Raises: Later, while it is not ready; BackendRefused, when it never will be."""
    try:
        found = await volumes.get(work.db, work.ctx, attached.volume_id)
    except NotFound:
        raise BackendRefused(f"Volume {attached.volume_id} is gone.") from None
    if found.status is VolumeStatus.CREATING:
        _waiting[attached.volume_id] = server.id
        raise Later(f"volume {attached.volume_id} is {found.status}", 2.0)
    if found.status is VolumeStatus.ERROR:
        raise BackendRefused(f"Volume {attached.volume_id} did not finish being created: its status is error.")
    connection = await attachments.connect(work.ctx, found, server.host or "", holder_of(server, attached))
    return Disk(
        attached.volume_id, connection.path, attached.device.removeprefix("/dev/"), attached.volume_id[:20], boot_index=attached.boot_index,
        protocol="nbd" if connection.kind == "nbd" else connection.protocol,
    )  # fmt: skip


def holder_of(server: Server, attached: Attached) -> Holder:
    """For whom a volume of another host is lent: the attachment, as the server's row is now."""
    return Holder(attached.attachment_id, server.generation)


async def disconnect(work: Work, server: Server, host: str) -> None:
    """The host has let go of the server: volumes of others are not lent to it for that server any more."""
    for attached in server.volumes:
        await for_compute.disconnect(work.cloud, attached.volume_id, host, holder_of(server, attached))


def waiting_for(volume_id: str) -> list[str]:
    """The server that waits for a volume, once."""
    found = _waiting.pop(volume_id, None)
    return [found] if found else []


def card(nic: Nic) -> Card:
    return Card(nic.port_id, nic.mac, nic.network_id, nic.mtu)


async def spec_of(work: Work, server: Server, driver: ComputeDriver) -> ServerSpec:
    """Everything, its own disks made and its volumes found. Raises: Later, BackendRefused, BackendUnreachable."""
    volumes = [await volume_disk(work, server, v) for v in server.volumes if v.state != "detaching"]
    disks = []
    for local in server.disks:
        made = await driver.ensure_disk(local.id, local.size_gib, local.image)
        device = local.device.removeprefix("/dev/")
        disks.append(Disk(local.id, made.path, device, local.id[:20], boot_index=local.boot_index, protocol=made.protocol))
    if server.config_drive:
        await driver.ensure_config_drive(server.id, await metadata.config_drive(work.cloud, server))
    return ServerSpec(
        server.id, server.name, server.generation, server.flavor.vcpus, server.flavor.ram, tuple(disks + volumes),
        tuple(card(n) for n in server.attached_nics), server.config_drive,
        {k: str(v) for k, v in server.image_properties.items() if k.startswith(("hw_", "os_"))},
    )  # fmt: skip
