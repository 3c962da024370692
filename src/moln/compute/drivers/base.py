"""What a hypervisor can do. Every verb may run twice; only BackendRefused and BackendUnreachable come out.

The values are plain (they cross the link to a node). A verb that names a generation is refused when the hypervisor already
knows a higher one of the same server. Sizes: MiB and GiB by name; times: seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

from msgspec import Struct

from moln.compute.model.facts import HostFacts
from moln.kernel.link.streams import Stream

Power = Literal["running", "paused", "stopped", "crashed"]
WantedPower = Literal["running", "paused", "stopped"]
Bus = Literal["virtio", "scsi", "sata", "usb"]
ConsoleKind = Literal["vnc", "serial"]
DiskProtocol = Literal["file", "nbd", "rbd"]


class Disk(Struct, frozen=True):
    """A block device of a server: its own disk, a volume, or a read-only medium.

    id: the volume's, or the disk's own id; it names the device for detaching. protocol: how it is opened. path: absolute, a raw file or block
    device; of `nbd` the unix socket where it is served, of `rbd` pool/image.
    device: as the API names it (`vda`). serial: what the guest reads, 20 characters at most. boot_index: from 0 up, None never boots.
    """

    id: str
    path: str
    device: str
    serial: str = ""
    bus: Bus = "virtio"
    read_only: bool = False
    boot_index: int | None = None
    medium: Literal["disk", "cdrom"] = "disk"
    protocol: DiskProtocol = "file"


class Card(Struct, frozen=True):
    """A network card: what the hypervisor must know of a port. mtu: 0 leaves the guest's default."""

    port_id: str
    mac: str
    network_id: str
    mtu: int = 0
    model: Literal["virtio", "e1000", "rtl8139"] = "virtio"


class ServerSpec(Struct, frozen=True):
    """All that a hypervisor must know to run a server.

    name: for people who look at the host; any text. config_drive: ensure_config_drive was called before.
    properties: hw_* properties of the image that a driver may honour.
    """

    id: str
    name: str
    generation: int
    vcpus: int
    ram_mib: int
    disks: tuple[Disk, ...] = ()
    cards: tuple[Card, ...] = ()
    config_drive: bool = False
    properties: dict[str, str] = {}


class ServerState(Struct, frozen=True):
    """What a hypervisor holds of a server. generation: of the spec it last made true, 0 unknown."""

    id: str
    power: Power
    generation: int = 0


class DiskFile(Struct, frozen=True):
    """A disk that a driver keeps for a server. size_bytes: as the guest sees it. path, protocol: as in Disk."""

    id: str
    path: str
    size_bytes: int
    protocol: DiskProtocol = "file"


class Inventory(Struct, frozen=True):
    """Everything a driver holds, for `moln doctor`. Ids; ports: those whose tap is there; folders: servers that have files.

    strays: what lies among ours and bears no id of ours, in words: other domains, taps that no switch port explains, other files.
    """

    servers: tuple[str, ...]
    disks: tuple[str, ...]
    ports: tuple[str, ...]
    folders: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()


class ComputeDriver(Protocol):
    """Servers, and the disks that live and die with them."""

    async def start(self) -> None:
        """Reach the hypervisor, and keep reaching it. Returns at once; verbs raise BackendUnreachable until it answers."""

    async def stop(self) -> None:
        """Let go of the hypervisor; servers run on."""

    async def ensure_disk(self, disk_id: str, size_gib: int, image_id: str | None = None) -> DiskFile:
        """There is a raw disk, begun as a copy of the cached raw image, of at least `size_gib` (0: as large as the image).

        Raises: BackendRefused when the image is not there or does not fit.
        """

    async def remove_disk(self, disk_id: str) -> None:
        """There is no such disk."""

    async def ensure_config_drive(self, server_id: str, files: dict[str, bytes]) -> None:
        """The server's next start sees these files (relative paths) on a medium labelled `config-2`."""

    async def ensure_server(self, spec: ServerSpec, power: WantedPower, grace_s: float = 0) -> None:
        """The server is as `spec` says and in that power state. What a running server cannot change, it gets at its next start.

        grace_s: how long a running server may take to shut itself down before `stopped` cuts its power.
        """

    async def reboot_server(self, spec: ServerSpec, grace_s: float = 0) -> None:
        """Start it anew with this spec. grace_s: time to shut down by itself (a soft reboot); then, or with 0, power is cut."""

    async def remove_server(self, server_id: str) -> None:
        """No such server, and nothing of it but its disks."""

    async def attach_disk(self, server_id: str, disk: Disk) -> None:
        """The server, running or not, has the disk. Raises: BackendRefused when there is no such server, or no slot."""

    async def detach_disk(self, server_id: str, disk_id: str) -> None:
        """The server has no such disk, or there is no such server; the guest has let it go."""

    async def attach_card(self, server_id: str, card: Card) -> None:
        """The server has the card. Raises: BackendRefused when there is no such server, or no slot."""

    async def detach_card(self, server_id: str, port_id: str) -> None:
        """The server has no such card, or there is no such server."""

    async def resize_attached_disk(self, server_id: str, disk_id: str, size_bytes: int) -> None:
        """A running guest sees its disk, already grown, at this size."""

    async def console_output(self, server_id: str, lines: int | None = None) -> str:
        """The last lines (None: all that is kept, bounded) of its serial console. "" when it never wrote."""

    async def list_servers(self) -> list[ServerState]:
        """Every server of ours on the host."""

    async def find_server(self, server_id: str) -> ServerState | None:
        """One of them."""

    async def host_facts(self) -> HostFacts:
        """What the host has, now."""

    async def inventory(self) -> Inventory:
        """Everything held."""

    def on_power_change(self, listener: Callable[[ServerState], None]) -> None:
        """Call `listener`, in the event loop, whenever a server's power changes; it may be called with nothing new."""


@runtime_checkable
class Snapshots(Protocol):
    """The ability to copy a server's disk, crash-consistently, while it runs."""

    async def ensure_image_data(self, image_id: str, server_id: str, disk_id: str) -> int:
        """The image store's incoming folder holds the disk's present bytes as `image_id` (raw). Returns how many bytes."""


@runtime_checkable
class Suspension(Protocol):
    """The ability to put a running guest's memory aside, and to go on from there."""

    async def suspend_server(self, server_id: str) -> None:
        """The server does not run; its memory is kept on the host. Raises: BackendRefused, when it does not run and nothing is kept."""

    async def resume_server(self, spec: ServerSpec) -> None:
        """It runs on from the memory that was kept; one of which nothing is kept boots. Any other start forgets the memory."""


@runtime_checkable
class CrashDumps(Protocol):
    """The ability to make a guest dump its memory."""

    async def trigger_crash_dump(self, server_id: str) -> None:
        """The guest gets an NMI; what it does then is its own matter. Not idempotent. Raises: BackendRefused, when it does not run."""


@runtime_checkable
class DiskCopies(Protocol):
    """The ability to grow a disk, and to put it back as it was. The server whose disk it is must be off."""

    async def ensure_disk_copy(self, copy_id: str, disk_id: str) -> None:
        """There is a disk `copy_id`, which began as `disk_id` was then. Raises: BackendRefused, when there is no such disk."""

    async def restore_disk(self, disk_id: str, copy_id: str) -> None:
        """The disk is what its copy is, which is no more. Nothing, when there is no such copy: then it was done before."""

    async def grow_disk(self, disk_id: str, size_gib: int) -> None:
        """The disk has at least this size. Raises: BackendRefused, when there is no such disk."""


@runtime_checkable
class Consoles(Protocol):
    """The ability to open a running server's consoles. Streams do not cross the link: the node serves them (kernel/link/streams.py)."""

    async def open_console(self, server_id: str, kind: ConsoleKind) -> Stream:
        """Its screen (vnc: RFB 3.8 without a password, RFC 6143), or its first serial port, until it stops.

        A serial port has one reader: whoever comes takes it from who was there. Raises: BackendRefused when it does not run.
        """


class Plugger(Protocol):
    """How a card reaches the virtual network. Used by drivers whose servers have taps on this host."""

    async def ensure_plugged(self, port_id: str, mtu: int = 0) -> str:
        """A tap for the port, plugged into the integration bridge. Returns the tap's name."""

    async def ensure_unplugged(self, port_id: str) -> None:
        """No such tap."""

    async def plugged(self) -> tuple[str, ...]:
        """The ports that have one."""
