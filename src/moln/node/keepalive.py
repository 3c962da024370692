"""TCP connections of another process that end once nobody answers (tcp(7)), where its program asks the kernel for no such thing and would wait for ever.

A request that arrived, and whose answer was lost for good while the link was cut, leaves its sender with nothing to send again and so with nothing
that fails: only probes find out. A socket is borrowed for as long as it takes to have it probe; who made it need not know.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
import socket

IDLE_S, PROBE_S = 10, 5
SILENT_S = 30  # for which nothing is heard, whether of what was sent or of probes: then the connection ends
SYNS = 3  # that are sent again, in 15 s: whoever tries anew after that is there soon once a link that was long away is back
log = logging.getLogger("moln.node")
PIDFD_GETFD = 438  # pidfd_getfd(2), Linux 5.6; Python has no name for it


def watch(pid: int, watched: frozenset[str] = frozenset()) -> frozenset[str]:
    """Have the TCP sockets of a process probe, and those that come of one that listens. watched: what this said last, which is left out.

    A process that is gone has none. Where the kernel or its guards do not let us, that is logged, once for each socket.
    """
    found = _sockets(pid)
    try:
        if found.keys() - watched:
            process = os.pidfd_open(pid)
            try:
                _probe(process, [found[name] for name in found.keys() - watched])
            finally:
                os.close(process)
    except ProcessLookupError:
        return frozenset()
    except OSError as error:
        log.warning("connections of process %d may wait for ever once a link was cut: %r", pid, error)
    return frozenset(found)


def _sockets(pid: int) -> dict[str, int]:
    """Numbers of its descriptors, by what makes a socket another than any before."""
    found = {}
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it is gone
        for number in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
                name = os.readlink(f"/proc/{pid}/fd/{number}")
                if name.startswith("socket:"):
                    found[name] = int(number)
    return found


def _probe(process: int, numbers: list[int]) -> None:
    """Raises: OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    for number in numbers:
        borrowed = libc.syscall(ctypes.c_long(PIDFD_GETFD), process, number, 0)
        if borrowed < 0:
            if ctypes.get_errno() == errno.EBADF:  # it was closed meanwhile
                continue
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        with socket.socket(fileno=borrowed) as found:
            if found.family in (socket.AF_INET, socket.AF_INET6) and found.type == socket.SOCK_STREAM:
                for option, value in ((socket.TCP_KEEPIDLE, IDLE_S), (socket.TCP_KEEPINTVL, PROBE_S), (socket.TCP_USER_TIMEOUT, SILENT_S * 1000),
                                      (socket.TCP_SYNCNT, SYNS)):  # fmt: skip
                    found.setsockopt(socket.IPPROTO_TCP, option, value)
                found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
