"""Where a node serves streams to members of its cloud on other machines: a port of mutual TLS."""

from __future__ import annotations

import asyncio
import logging

from moln.kernel.link import Streams
from moln.kernel.link.streams import OPEN_S
from moln.kernel.nodes.passport import Passport, peer_of
from moln.node.streams import Serving

log = logging.getLogger("moln.node")


class TlsStreamServer(Serving):
    """At address:port of this machine, for members that prove themselves: controllers, and for `others` every member."""

    def __init__(self, address: str, streams: Streams, passport: Passport, others: Streams | None = None) -> None:
        super().__init__(streams)
        self.others = others
        self.host, _, port = address.rpartition(":")
        self.port = int(port)
        self.passport = passport

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def streams_for(self, writer: asyncio.StreamWriter) -> Streams | None:
        who = peer_of(writer.get_extra_info("peercert"))
        found = {"controller": self.streams, "node": self.others}.get(who[0]) if who is not None else None
        if found is None:
            log.warning("%s may not open streams", who)
        return found

    async def start(self) -> None:
        """Raises: OSError, when the address cannot be had."""
        self.server = await asyncio.start_server(
            self.serve, self.host.strip("[]"), self.port, ssl=self.passport.server(), ssl_handshake_timeout=OPEN_S
        )
        self.port = self.server.sockets[0].getsockname()[1]
