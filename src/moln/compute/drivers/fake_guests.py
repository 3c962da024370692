"""What simulated guests say of themselves: numbers that follow from their specs, and an agent where the image says that there is one."""

from __future__ import annotations

from moln.compute.drivers.domain_xml import agent, tap_name
from moln.compute.drivers.fake import FakeCompute
from moln.compute.drivers.guests import CardNumbers, Diagnostics, DiskNumbers
from moln.kernel.errors import BackendRefused


class FakeGuests:
    """Guests. A deaf server's agent does not answer."""

    def __init__(self, compute: FakeCompute) -> None:
        self.compute = compute

    async def find_diagnostics(self, server_id: str) -> Diagnostics | None:
        state = await self.compute.find_server(server_id)
        if state is None or state.power != "running":
            return None
        spec = self.compute.spec_of(server_id)
        memory = spec.ram_mib * 1024
        return Diagnostics(
            "libvirt", "qemu", (1_000_000_000,) * spec.vcpus, memory, memory, {"actual": memory, "rss": memory // 2},
            tuple(DiskNumbers(d.device, 4096, 8, 512, 1, 0) for d in spec.disks),
            tuple(CardNumbers(tap_name(c.port_id), c.mac, 3000, 30, 0, 0, 2000, 20, 0, 0) for c in spec.cards),
        )  # fmt: skip

    async def set_password(self, server_id: str, user: str, password: str) -> bool:
        state = await self.compute.find_server(server_id)
        if state is None or state.power != "running":
            raise BackendRefused("The server does not run.")
        if server_id in self.compute.deaf or not agent(self.compute.spec_of(server_id).properties):
            return False
        self.compute.passwords[server_id, user] = password
        return True
