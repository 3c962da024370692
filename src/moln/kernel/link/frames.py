"""What goes between controller and node: msgpack frames, a length of four bytes before each."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from msgspec import Struct

FRAME_BOUND = 64 << 20  # bytes of a frame, at most


class Hello(Struct, frozen=True, tag="hello"):
    """A node's first frame. facts: what it is, for placement and `moln status`. session: see Beat."""

    node: str
    facts: dict[str, Any] = {}
    session: str = ""


class Beat(Struct, frozen=True, tag="beat"):
    """That a node lives, where no connection of its own shows it. session: another one each time that it connected."""

    session: str


class Who(Struct, frozen=True, tag="who"):
    """A controller wants to hear a hello. spread_s: seconds over which all who are asked may spread theirs."""

    spread_s: float = 0.0


class Call(Struct, frozen=True, tag="call"):
    """A command. verb: "<area>.<method>"; args: its arguments in msgpack, a list.

    resource, generation: what it touches and the generation it knows; the node refuses one lower than it has seen. Empty: no fence.
    not_after: µs UTC; the node does not begin it later. traceparent: the caller's span (W3C Trace Context); empty: none.
    """

    id: int
    verb: str
    args: bytes
    not_after: int
    resource: str = ""
    generation: int = 0
    request_id: str = ""
    traceparent: str = ""


class Answer(Struct, frozen=True, tag="answer"):
    """kind: ok, refused, unreachable, stale or error. value: the result in msgpack. message: for the resource's owner."""

    id: int
    kind: str
    value: bytes = b"\xc0"
    message: str = ""


class Report(Struct, frozen=True, tag="report"):
    """What a node saw, unasked. topic: "<area>.<what>"; value in msgpack. A lost report costs a period."""

    topic: str
    value: bytes


Frame = Hello | Beat | Who | Call | Answer | Report
_decoder = msgspec.msgpack.Decoder(Frame)
_encoder = msgspec.msgpack.Encoder()


def pack(value: Any) -> bytes:
    return _encoder.encode(value)


def unpack(raw: bytes, shape: Any = Any) -> Any:
    return msgspec.msgpack.decode(raw, type=shape)


def encode(frame: Frame, bound: int) -> bytes:
    """A frame alone, where the transport keeps them apart. Raises ValueError for one beyond `bound`."""
    raw = _encoder.encode(frame)
    if len(raw) > bound:
        raise ValueError(f"a frame of {len(raw)} bytes")
    return raw


def decode(raw: bytes) -> Frame:
    """Raises ConnectionError for what is no frame."""
    try:
        frame: Frame = _decoder.decode(raw)
        return frame
    except msgspec.MsgspecError as error:
        raise ConnectionError(f"not a frame: {error}") from None


def send(writer: asyncio.StreamWriter, frame: Frame) -> None:
    """Queue a frame. Raises ConnectionError, when the peer reads too slowly or is gone; ValueError for one beyond FRAME_BOUND."""
    if writer.is_closing() or writer.transport.get_write_buffer_size() > FRAME_BOUND:
        raise ConnectionError("the link is closed or full")
    raw = encode(frame, FRAME_BOUND)
    writer.write(len(raw).to_bytes(4, "big") + raw)


async def receive(reader: asyncio.StreamReader) -> Frame:
    """The next frame. Raises ConnectionError (also for what is no frame), IncompleteReadError at the end."""
    length = int.from_bytes(await reader.readexactly(4), "big")
    if length > FRAME_BOUND:
        raise ConnectionError(f"a frame of {length} bytes")
    return decode(await reader.readexactly(length))
