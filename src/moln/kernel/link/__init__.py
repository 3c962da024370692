"""A driver called on a node: frames, verbs, and the ways there (a unix socket; NATS; in-process, for simulation).

kernel/link/nats.py is imported only where nodes are on other machines: its library is not everybody's.
"""

from moln.kernel.link.frames import Answer, Call, Hello, Report
from moln.kernel.link.links import InProcessLinks, NodeLinks
from moln.kernel.link.node import NodeEnd
from moln.kernel.link.several import SeveralLinks
from moln.kernel.link.sockets import SocketEnd, SocketLinks
from moln.kernel.link.streams import Stream, Streams
from moln.kernel.link.verbs import Fences, MemoryFences, Verbs

__all__ = [
    "Answer", "Call", "Fences", "Hello", "InProcessLinks", "MemoryFences", "NodeEnd", "NodeLinks", "Report", "SeveralLinks", "SocketEnd",
    "SocketLinks", "Stream", "Streams", "Verbs",
]  # fmt: skip
