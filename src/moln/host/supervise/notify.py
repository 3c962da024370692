"""What systemd is told of a unit with Type=notify (sd_notify(3)): datagrams to NOTIFY_SOCKET, which nobody has to hear."""

from __future__ import annotations

import contextlib
import os
import socket


class Init:
    """The init that started us, if it wants to know anything. Says each thing once."""

    def __init__(self) -> None:
        self.address = os.environ.get("NOTIFY_SOCKET", "")
        self.ready = False
        self.told = ""

    def tell(self, states: list[str], *, stopping: bool) -> None:
        """states: of the engines. Ready once all of them were; what happens later is told in words."""
        count = states.count("ready")
        lines = [f"STATUS={'Stopping, ' if stopping else ''}{count} of {len(states)} engines are ready"]
        if stopping:
            lines.append("STOPPING=1")
        elif count == len(states):
            self.ready = True
        if self.ready and not stopping:
            lines.append("READY=1")
        text = "\n".join(lines)
        if self.address and text != self.told:
            self.told = text
            name = "\0" + self.address[1:] if self.address.startswith("@") else self.address
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.sendto(text.encode(), name)
