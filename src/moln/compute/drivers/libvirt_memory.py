"""What libvirt's driver does with a guest's memory: kept, taken up again, dumped by the guest itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moln.compute.drivers import libvirt_domains as domains
from moln.compute.drivers.base import ServerSpec
from moln.kernel.errors import BackendRefused

if TYPE_CHECKING:
    from moln.compute.drivers.libvirt import LibvirtDriver

MEMORY_S = 900.0  # gigabytes on their way to a slow disk, or back


class LibvirtMemory:
    """Suspension and CrashDumps, for LibvirtDriver to have."""

    async def suspend_server(self: LibvirtDriver, server_id: str) -> None:  # type: ignore[misc]
        async with self.turn(server_id):
            await self.link.call(domains.keep_memory, server_id, timeout_s=MEMORY_S)

    async def resume_server(self: LibvirtDriver, spec: ServerSpec) -> None:  # type: ignore[misc]
        async with self.turn(spec.id):
            state = await self.link.call(domains.find_state, spec.id)
            if state is not None and state.generation > spec.generation:
                raise BackendRefused("The host knows a newer generation of this server.", detail=str(state.generation))
            if state is None or state.power in ("stopped", "crashed"):
                await self.boot(spec, paused=False, memory=True)
            else:
                await self.define(spec)
            await self.match_devices(spec)  # ports that went meanwhile
            await self.link.call(domains.set_paused, spec.id, False)

    async def trigger_crash_dump(self: LibvirtDriver, server_id: str) -> None:  # type: ignore[misc]
        await self.link.call(domains.inject_nmi, server_id)
