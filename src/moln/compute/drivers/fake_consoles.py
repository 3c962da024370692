"""Consoles of servers that do not exist: a serial port that echoes, and a screen (RFB 3.8, RFC 6143) of one colour, which keys change."""

from __future__ import annotations

import asyncio
import socket
import struct

from moln.compute.drivers.base import ConsoleKind
from moln.kernel.link.streams import CHUNK, STUCK_S, Stream, of_socket

WIDTH, HEIGHT = 320, 200
COLOURS = (0x203A5C, 0x2E6B4F, 0x7A4A1E, 0x5B2C6F)
GREETING = b"\r\nSimulated guest\r\nlogin: "
MOST_TEXT = 1 << 20  # bytes of a pasted text


class FakeConsoles:
    """Those open now, by server."""

    def __init__(self) -> None:
        self.open: dict[str, dict[asyncio.Task[None], ConsoleKind]] = {}

    async def connect(self, server_id: str, kind: ConsoleKind) -> Stream:
        """One end of a new console; a serial port leaves who had it."""
        consoles = self.open.setdefault(server_id, {})
        if kind == "serial":
            for task in [task for task, had in consoles.items() if had == "serial"]:
                task.cancel()
        ours, theirs = socket.socketpair()
        guest = await of_socket(theirs)
        task = asyncio.create_task(_until_closed(guest, kind, server_id), name=f"{kind} console of {server_id}")
        consoles[task] = kind
        task.add_done_callback(lambda task: consoles.pop(task, None))
        return await of_socket(ours)

    def cut(self, server_id: str) -> None:
        """The server has stopped."""
        for task in self.open.pop(server_id, {}):
            task.cancel()

    def cut_all(self) -> None:
        for server_id in list(self.open):
            self.cut(server_id)


async def _until_closed(guest: Stream, kind: ConsoleKind, server_id: str) -> None:
    try:
        await (_echo(guest) if kind == "serial" else _screen(guest, f"simulated {server_id}"))
    except (asyncio.IncompleteReadError, OSError):
        pass
    finally:
        guest.close()


async def _say(guest: Stream, data: bytes) -> None:
    guest.writer.write(data)
    async with asyncio.timeout(STUCK_S):
        await guest.writer.drain()


async def _echo(guest: Stream) -> None:
    await _say(guest, GREETING)
    while data := await guest.reader.read(CHUNK):
        await _say(guest, data.replace(b"\r", b"\r\n"))


async def _screen(guest: Stream, name: str) -> None:
    """The handshake without authentication, then an answer to each question of the client."""
    read = guest.reader.readexactly
    await _say(guest, b"RFB 003.008\n")
    await read(12)
    await _say(guest, b"\x01\x01")  # one security type: None
    if await read(1) != b"\x01":
        return
    await _say(guest, struct.pack(">I", 0))
    await read(1)
    pixels = struct.pack(">BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
    title = name.encode()
    await _say(guest, struct.pack(">HH", WIDTH, HEIGHT) + pixels + struct.pack(">I", len(title)) + title)
    bytes_each, keys, asked = 4, 0, False
    while True:
        (kind,) = await read(1)
        if kind == 0:  # SetPixelFormat
            bytes_each = max(1, (await read(19))[3] // 8)
        elif kind == 2:  # SetEncodings
            await read(4 * struct.unpack(">xH", await read(3))[0])
        elif kind == 3:  # FramebufferUpdateRequest; an incremental one waits until something changes
            (incremental,) = struct.unpack(">B8x", await read(9))
            asked = bool(incremental)
            if not incremental:
                await _say(guest, _update(keys, bytes_each))
        elif kind == 4:  # KeyEvent
            (down,) = struct.unpack(">B6x", await read(7))
            keys += down
            if down and asked:
                asked = False
                await _say(guest, _update(keys, bytes_each))
        elif kind == 5:  # PointerEvent
            await read(5)
        elif kind == 6:  # ClientCutText; a negative length is the extended form
            (length,) = struct.unpack(">3xi", await read(7))
            if abs(length) > MOST_TEXT:
                return
            await read(abs(length))
        else:
            return


def _update(keys: int, bytes_each: int) -> bytes:
    """The whole screen, raw, in one colour."""
    pixel = COLOURS[keys % len(COLOURS)].to_bytes(4, "little")[:bytes_each].ljust(bytes_each, b"\0")
    return struct.pack(">BxHHHHHi", 0, 1, 0, 0, WIDTH, HEIGHT, 0) + pixel * (WIDTH * HEIGHT)
