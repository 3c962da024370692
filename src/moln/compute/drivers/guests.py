"""What can be learnt of a running guest, and said to it: an ability beside ComputeDriver, for drivers that have it."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct


class DiskNumbers(Struct, frozen=True):
    """What a disk did since the guest started. device: `vda`."""

    device: str
    read_bytes: int
    read_requests: int
    write_bytes: int
    write_requests: int
    errors: int


class CardNumbers(Struct, frozen=True):
    """What a card did, as the guest sees it. name: of its tap."""

    name: str
    mac: str
    rx_octets: int
    rx_packets: int
    rx_errors: int
    rx_drop: int
    tx_octets: int
    tx_packets: int
    tx_errors: int
    tx_drop: int


class Diagnostics(Struct, frozen=True):
    """A running guest in numbers. driver, hypervisor: Nova's words (`libvirt`, `kvm`). cpu_times_ns: by vCPU, ns.

    memory_kib, memory_used_kib: what it may have, and has. memory_stats: the hypervisor's own, by its names.
    """

    driver: str
    hypervisor: str
    cpu_times_ns: tuple[int, ...]
    memory_kib: int
    memory_used_kib: int
    memory_stats: dict[str, int] = {}
    disks: tuple[DiskNumbers, ...] = ()
    cards: tuple[CardNumbers, ...] = ()


class Guests(Protocol):
    """Questions and words to a guest. All may run twice."""

    async def find_diagnostics(self, server_id: str) -> Diagnostics | None:
        """Its numbers now; None, when it does not run."""

    async def set_password(self, server_id: str, user: str, password: str) -> bool:
        """The user in the guest has this password; False, when no agent in the guest answers.

        Raises: BackendRefused, when it does not run or the agent will not.
        """
