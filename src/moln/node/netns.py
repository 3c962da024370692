"""A network namespace without a name: it lives as long as the sockets in it do, so a killed node leaves none behind."""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from ipaddress import ip_interface
from typing import TypeVar

R = TypeVar("R")
CLONE_NEWNET = 0x40000000  # linux/sched.h
SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17  # linux/sockios.h, linux/ethtool.h
IP_S = 10
METADATA_V4 = "169.254.169.254"
METADATA_V6 = "fe80::a9fe:a9fe"
PORT = 80


def metadata_sockets(outer: str, mac: str, cidrs: tuple[str, ...], mtu: int) -> list[socket.socket]:
    """Make a namespace whose `eth0` is the peer of the veth `outer` on the host, and listen there for metadata.

    Raises: OSError, CalledProcessError, TimeoutExpired. Blocks.
    """
    host = os.getpid()  # of our first thread, which stays on the host's side

    def work() -> list[socket.socket]:
        commands = [
            "link set lo up",
            f"link add eth0 type veth peer name {outer} netns {host}",
            f"link set eth0 address {mac}" + (f" mtu {mtu}" if mtu else ""),
            "link set eth0 up",
            *(f"addr add {ip_interface(cidr)} dev eth0" + (" nodad" if ":" in cidr else "") for cidr in cidrs),
            f"addr add {METADATA_V4}/32 dev eth0",
        ]
        ip(*commands)
        checksums_in_software("eth0")
        sockets = [listen(socket.AF_INET, (METADATA_V4, PORT))]
        try:
            ip(f"addr add {METADATA_V6}/64 dev eth0 nodad")
            sockets.append(listen(socket.AF_INET6, (METADATA_V6, PORT, 0, socket.if_nametoindex("eth0"))))
        except (OSError, subprocess.CalledProcessError):  # a host without IPv6
            pass
        return sockets

    return in_new_namespace(work)


def ip(*commands: str) -> None:
    """Run iproute2 commands in this thread's namespace."""
    text = "\n".join(commands) + "\n"
    subprocess.run(["ip", "-batch", "-"], input=text, text=True, check=True, capture_output=True, timeout=IP_S)


def link_exists(name: str) -> bool:
    """In this thread's namespace; /sys would show the namespace that it was mounted in."""
    try:
        return socket.if_nametoindex(name) > 0
    except OSError:
        return False


def remove_link(name: str) -> None:
    """No such link. Blocks."""
    if link_exists(name):
        subprocess.run(["ip", "link", "del", name], check=False, capture_output=True, timeout=IP_S)


def listen(family: socket.AddressFamily, address: tuple[object, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setblocking(False)
    made.bind(address)
    made.listen(64)
    return made


def checksums_in_software(name: str) -> None:
    """The other end is OVS's userspace datapath, which hands on what it gets: a checksum left to hardware stays wrong."""
    value = array.array("B", struct.pack("II", ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP", name.encode(), value.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCETHTOOL, request)


def in_new_namespace(work: Callable[[], R]) -> R:
    """Run `work` in a thread of its own in a new network namespace: only the thread moves, and then it ends."""
    outcome: list[R] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.unshare(CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
            outcome.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="netns")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
