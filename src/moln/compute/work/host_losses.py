"""Servers of a node that died begin anew on others by themselves, where an operator has said how to make sure that it is dead.

`fence/NODE` (or `fence/default`) in the home is a program: called with the node's name it turns the machine off, and ends with 0 only when that is certain.
Without one nothing is done: a node that is not heard of may run its guests very well. What is begun anew is what its owner asked for
(metadata HA_Enabled=True, Masakari's word), as a server's own disks are lost with the node.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from pathlib import Path

from moln.compute.model.hosts import ComputeHost
from moln.compute.model.servers import Server
from moln.compute.ops import evacuate, services
from moln.compute.store import hosts as host_store
from moln.compute.store import servers as store
from moln.kernel.cloud import Cloud
from moln.kernel.errors import Failure
from moln.kernel.module import Violation
from moln.kernel.work import Work

FOLDER, DEFAULT = "fence", "default"
DEAD_S = 60.0  # how long nothing is heard of a node before it is fenced: its own end and a controller's start are shorter
AGAIN_S = 60.0  # until a fence that failed is tried again
FENCE_S = 120.0
WANTED = "HA_Enabled"
_log = logging.getLogger("moln.compute")


class Losses:
    """What one controller knows of nodes that are away. since: from when on, monotonic seconds; failed: why one could not be fenced."""

    def __init__(self, dead_s: float = DEAD_S) -> None:
        self._dead_s = dead_s
        self._since: dict[str, float] = {}
        self.failed: dict[str, str] = {}

    async def look(self, work: Work) -> None:
        """Fence who is away for too long, and have its servers begin anew."""
        cloud = work.cloud
        if not (cloud.home / FOLDER).is_dir():
            return
        rows, now = await cloud.db.all(host_store.ALL), cloud.clock.monotonic()
        away = [row for row in rows if row.name not in cloud.links.nodes]
        if cloud.links.trouble or len(away) * 2 > len(rows):  # then it is rather this controller that hears nobody
            away = []
        self._since = {row.name: self._since.get(row.name, now) for row in away}
        self.failed = {name: why for name, why in self.failed.items() if name in self._since}
        for row in away:
            if now - self._since[row.name] >= self._dead_s and not row.maintenance:
                await self._lost(cloud, row, now)

    async def _lost(self, cloud: Cloud, row: ComputeHost, now: float) -> None:
        program = program_for(cloud.home / FOLDER, row.name)
        if program is None:
            return
        ctx = cloud.system_context()
        if not row.forced_down:
            why = await fence(program, row.name)
            if why:
                _log.error("node %s is lost and cannot be fenced: %s", row.name, why)
                self.failed[row.name], self._since[row.name] = why, now - self._dead_s + AGAIN_S
                return
            self.failed.pop(row.name, None)
            _log.warning("node %s is lost and was fenced by %s", row.name, program)
            await services.update(ctx, row, disabled=None, reason=None, forced_down=True)
        for server in await store.on_host(cloud.db, row.name):
            if wanted(server):
                try:
                    await evacuate.evacuate(cloud.system_context(), server.id, host=None, forced=False, off=False)
                except Failure as failure:
                    _log.warning("server %s of the lost node %s stays: %s", server.id, row.name, failure.message)

    async def unfenced(self, cloud: Cloud) -> list[Violation]:
        """Nodes that are lost, and nobody knows whether they are dead."""
        return [Violation(f"Node {name} is lost and cannot be fenced: {why}", f"see {cloud.home / FOLDER}; make sure that it is off, then: "
                          f"openstack compute service set --down {name} nova-compute") for name, why in sorted(self.failed.items())]  # fmt: skip


def wanted(server: Server) -> bool:
    """Whether its owner wants it to begin anew."""
    return server.metadata.get(WANTED, "").lower() == "true"


def program_for(folder: Path, node: str) -> Path | None:
    """How to make sure that a node is dead. One that others than its owner may write, or that is not executable, is none."""
    for path in (folder / node, folder / DEFAULT):
        try:
            mode = path.stat().st_mode
        except OSError:
            continue
        if stat.S_ISREG(mode) and not mode & 0o022 and os.access(path, os.X_OK):
            return path
        _log.error("%s is no program that only its owner may write", path)
        return None
    return None


async def fence(program: Path, node: str) -> str:
    """Why the node may still live; empty: it is dead."""
    try:
        process = await asyncio.create_subprocess_exec(
            str(program), node, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
    except OSError as error:
        return f"{program} cannot be run ({error.strerror})"
    try:
        async with asyncio.timeout(FENCE_S):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"{program} did not end within {FENCE_S:g} s"
    except BaseException:  # this controller ends: the next one fences again
        process.kill()
        raise
    text = said.decode(errors="replace").strip()
    return "" if process.returncode == 0 else f"{program} ended with {process.returncode}{f': {text[-300:]}' if text else ''}"
