"""A driver called on a node: frames, verbs, and the two ways there (a unix socket; in-process, for simulation)."""

from moln.kernel.link.frames import Answer, Call, Hello, Report
from moln.kernel.link.links import InProcessLinks, NodeLinks, SocketLinks
from moln.kernel.link.node import NodeEnd
from moln.kernel.link.streams import Stream, Streams
from moln.kernel.link.verbs import Fences, MemoryFences, Verbs

__all__ = [
    "Answer", "Call", "Fences", "Hello", "InProcessLinks", "MemoryFences", "NodeEnd", "NodeLinks", "Report", "SocketLinks", "Stream",
    "Streams", "Verbs",
]  # fmt: skip
