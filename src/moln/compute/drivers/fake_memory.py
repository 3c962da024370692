"""What the fake hypervisor does with a guest's memory: it remembers whether it is kept, and that an NMI came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from moln.compute.drivers.base import ServerSpec
from moln.kernel.errors import BackendRefused
from moln.kernel.files import known

if TYPE_CHECKING:
    from moln.compute.drivers.fake import FakeCompute


class FakeMemory:
    """Suspension and CrashDumps, for FakeCompute to have."""

    async def suspend_server(self: FakeCompute, server_id: str) -> None:  # type: ignore[misc]
        async with self._duty("suspend_server"):
            server = self._get(known(server_id))
            if server.power in ("running", "paused"):
                self.kept.put("server", server_id, replace(server, memory=True))
                self._power(server_id, "stopped")
            elif not server.memory:
                raise BackendRefused("The server does not run.")

    async def resume_server(self: FakeCompute, spec: ServerSpec) -> None:  # type: ignore[misc]
        async with self._duty("resume_server"):
            self._check_generation(spec)
            server = self._get(known(spec.id))
            self.kept.put("server", spec.id, replace(server, spec=spec, memory=False))
            if server.power in ("stopped", "crashed") and not server.memory:
                self._boot(spec.id)
            self._power(spec.id, "running")

    async def trigger_crash_dump(self: FakeCompute, server_id: str) -> None:  # type: ignore[misc]
        async with self._duty("trigger_crash_dump"):
            if self._get(server_id).power not in ("running", "paused"):
                raise BackendRefused("The server does not run.")
            self.write_console(server_id, "GUEST: Uhhuh. NMI received\n")
