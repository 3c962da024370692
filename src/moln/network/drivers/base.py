"""What a network engine does for Moln. Drivers take `model` values only, and raise only BackendRefused and BackendUnreachable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from moln.kernel.errors import BackendRefused
from moln.network.model.topology import Change, Chassis, Desired


class Fenced(BackendRefused):
    """Another writer with a higher epoch has taken over: this one must stop writing."""


class PortUp(Struct, frozen=True):
    """The engine began (up) or ceased to carry a port's frames. chassis: where, by the engine's name, or empty."""

    port_id: str
    up: bool
    chassis: str = ""


class ChassisChanged(Struct, frozen=True):
    """A node came, went, or changed what it is connected to: gateways may have to move."""


Event = PortUp | ChassisChanged


class Applied(Struct, frozen=True):
    """What one apply did. written: rows made, changed or removed. missing: changes that wait for one that was not named.

    refused: changes that the engine itself turns down; the others are in place all the same.
    """

    written: int = 0
    missing: frozenset[Change] = frozenset()
    refused: frozenset[Change] = frozenset()

    def __add__(self, other: Applied) -> Applied:
        return Applied(self.written + other.written, self.missing | other.missing, self.refused | other.refused)


class NetworkDriver(Protocol):
    """One engine. Every verb may be repeated; one task writes at a time."""

    async def start(self, epoch: int) -> None:
        """Connect as the writer with this epoch. Raises: Fenced when a higher one was here; BackendUnreachable."""

    async def stop(self) -> None:
        """Let go of the engine; nothing that runs on it notices."""

    async def apply(self, desired: Desired) -> Applied:
        """Make the engine hold what is desired: compute, compare, write the difference, each write fenced by the epoch."""

    async def check(self, desired: Desired) -> list[str]:
        """How the engine differs from a complete desired state, a line each, without changing it (for `moln doctor`)."""

    def listen(self, heard: Callable[[Event], None]) -> Callable[[], None]:
        """Call `heard` on the event loop with what happens from now on; the answer ends it. `ups` and `chassis` tell what is."""

    async def ups(self) -> dict[str, str]:
        """Ports that are carried now, and by which chassis: looked up afresh."""

    def carried(self, port_id: str) -> bool:
        """Whether the port is carried, as far as events have told."""

    async def chassis(self) -> list[Chassis]:
        """The nodes the engine knows."""

    async def ask_chassis(self) -> None:
        """Have every node give a sign of life: its `seen_at` is of then, once it has. Raises: Fenced, BackendUnreachable."""

    async def forget_chassis(self, name: str) -> None:
        """Let go of a node that is gone for good; one that lives makes itself known again."""


class EngineSettings(Struct, frozen=True, kw_only=True):
    """What rows depend on besides the topology.

    dns_servers: resolvers given to guests whose subnet names none. dns_domain: of guests' names on networks without one; ends in a dot.
    lease_s: DHCP lease, seconds. distributed_floating_ips: leave from the guest's own node where it reaches the physical network.
    """

    dns_servers: tuple[str, ...] = ()
    dns_domain: str = "openstacklocal."
    lease_s: int = 43200
    distributed_floating_ips: bool = True
