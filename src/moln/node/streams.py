"""Where a node serves streams: a unix socket in root's own folder, which the controller's user may connect to."""

from __future__ import annotations

import asyncio
import grp
import os
from pathlib import Path

from moln.kernel.link import Streams


class Serving:
    """Serves streams until it is stopped. Subclasses say where, and to whom."""

    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self.server: asyncio.Server | None = None
        self.running: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """What a controller connects to."""
        raise NotImplementedError

    def streams_for(self, writer: asyncio.StreamWriter) -> Streams | None:
        """What who connected may open; None: nothing."""
        return self.streams

    async def start(self) -> None:
        raise NotImplementedError

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        streams = self.streams_for(writer)
        if streams is None:
            writer.close()
            return
        task = asyncio.current_task()
        assert task is not None
        self.running.add(task)
        try:
            await streams.serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the node ends; nobody waits for this task
        finally:
            self.running.discard(task)

    async def stop(self) -> None:
        if self.server is not None:
            self.server.close()
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)


class StreamServer(Serving):
    """At `path`. group: who may connect besides root; None: nobody."""

    def __init__(self, path: Path, streams: Streams, group: str | None) -> None:
        super().__init__(streams)
        self.path = path
        self.group = group

    @property
    def address(self) -> str:
        return str(self.path)

    async def start(self) -> None:
        self.path.unlink(missing_ok=True)
        self.server = await asyncio.start_unix_server(self.serve, self.path)
        os.chmod(self.path, 0o600)
        if self.group is not None:
            os.chown(self.path, -1, grp.getgrnam(self.group).gr_gid)
            os.chmod(self.path, 0o660)

    async def stop(self) -> None:
        await super().stop()
        self.path.unlink(missing_ok=True)
