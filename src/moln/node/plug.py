"""Cards and metadata sockets onto the virtual network: taps and veths of ours, named to OVN by `iface-id` (ovn-controller(8))."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
from typing import Any

from moln.compute.drivers.domain_xml import tap_name
from moln.kernel.errors import BackendRefused, BackendUnreachable
from moln.node.netns import link_exists
from moln.node.ovsdb import Ovsdb, from_pairs, from_set, pairs

TUNSETIFF, TUNSETPERSIST = 0x400454CA, 0x400454CB  # linux/if_tun.h
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFMTU = 0x8913, 0x8914, 0x8922  # linux/sockios.h
IFF_UP = 0x1
OWNER = "moln"  # external_ids:owner marks what is ours in a switch that others may use too


class Switch:
    """Plugger on Open vSwitch's integration bridge."""

    def __init__(self, ovsdb: Ovsdb, bridge: str = "br-int") -> None:
        self.ovsdb = ovsdb
        self.bridge = bridge
        self.turn = asyncio.Lock()

    async def ensure_plugged(self, port_id: str, mtu: int = 0) -> str:
        tap = tap_name(port_id)
        try:
            await asyncio.to_thread(ensure_tap, tap, mtu)
        except OSError as error:
            raise BackendUnreachable("The host cannot make a tap.", detail=f"{tap}: {error}") from error
        await self.ensure_port(tap, port_id)
        return tap

    async def ensure_unplugged(self, port_id: str) -> None:
        tap = tap_name(port_id)
        await self.ensure_no_port(tap)
        try:
            await asyncio.to_thread(remove_tap, tap)
        except OSError as error:
            raise BackendUnreachable("The host cannot remove a tap.", detail=f"{tap}: {error}") from error

    async def plugged(self) -> tuple[str, ...]:
        return tuple(sorted((await self.ports_of_ours("tap")).values()))

    async def ports_of_ours(self, prefix: str) -> dict[str, str]:
        """Our interfaces whose names begin so, with the logical port each is plugged for."""
        ours = [["external_ids", "includes", pairs({"owner": OWNER})]]
        (found,) = await self.ovsdb.transact(
            {"op": "select", "table": "Interface", "where": ours, "columns": ["name", "external_ids"]}
        )
        return {
            row["name"]: from_pairs(row["external_ids"]).get("iface-id", "")
            for row in found["rows"]
            if row["name"].startswith(prefix)
        }

    async def ensure_port(self, name: str, iface_id: str) -> None:
        """`name` is plugged into the bridge and OVN takes it for the logical port `iface_id`."""
        ids = pairs({"iface-id": iface_id, "owner": OWNER})
        async with self.turn:
            if await self.find_port(name):
                await self.ovsdb.transact(
                    {"op": "update", "table": "Interface", "where": [["name", "==", name]], "row": {"external_ids": ids}}
                )
                return
            bridge, *_ = await self.ovsdb.transact(
                {"op": "select", "table": "Bridge", "where": [["name", "==", self.bridge]], "columns": ["_uuid"]}
            )
            if not bridge["rows"]:
                raise BackendUnreachable("The integration bridge is not there yet.", detail=self.bridge)
            await self.ovsdb.transact(
                insert("Interface", "interface", name=name, external_ids=ids),
                insert("Port", "port", name=name, interfaces=["named-uuid", "interface"]),
                change_ports(self.bridge, "insert", ["named-uuid", "port"]),
                NEXT_CONFIGURATION,
            )

    async def ensure_no_port(self, name: str) -> None:
        async with self.turn:
            port = await self.find_port(name)
            if port:
                await self.ovsdb.transact(change_ports(self.bridge, "delete", port), NEXT_CONFIGURATION)

    async def find_port(self, name: str) -> list[str] | None:
        """The port's `["uuid", …]`, when it is on our bridge. Raises: BackendRefused, when another bridge has the name."""
        ports, bridges = await self.ovsdb.transact(
            {"op": "select", "table": "Port", "where": [["name", "==", name]], "columns": ["_uuid"]},
            {"op": "select", "table": "Bridge", "where": [["name", "==", self.bridge]], "columns": ["ports"]},
        )
        if not ports["rows"]:
            return None
        uuid: list[str] = ports["rows"][0]["_uuid"]
        if not bridges["rows"] or uuid not in from_set_of_uuids(bridges["rows"][0]["ports"]):
            raise BackendRefused("Another bridge has a port of that name.", detail=name)
        return uuid


NEXT_CONFIGURATION = {"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["next_cfg", "+=", 1]]}


def insert(table: str, handle: str, **row: Any) -> dict[str, Any]:
    return {"op": "insert", "table": table, "uuid-name": handle, "row": row}


def change_ports(bridge: str, how: str, port: list[str]) -> dict[str, Any]:
    mutation = ["ports", how, ["set", [port]]]
    return {"op": "mutate", "table": "Bridge", "where": [["name", "==", bridge]], "mutations": [mutation]}


def from_set_of_uuids(value: Any) -> list[Any]:
    """As from_set; one uuid alone is a list as well."""
    return [value] if isinstance(value, list) and value[0] == "uuid" else from_set(value)


def ensure_tap(name: str, mtu: int) -> None:
    """A persistent tap, up. It outlives QEMU, so that a restart of the guest keeps its port. Blocks; raises OSError."""
    if not link_exists(name):
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
            fcntl.ioctl(tun, TUNSETPERSIST, 1)
        finally:
            os.close(tun)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        if mtu:
            fcntl.ioctl(control, SIOCSIFMTU, struct.pack("16si20x", name.encode(), mtu))
        request = struct.pack("16sH22x", name.encode(), 0)
        flags = struct.unpack("16xH22x", fcntl.ioctl(control, SIOCGIFFLAGS, request))[0]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), flags | IFF_UP))


def remove_tap(name: str) -> None:
    """No such tap. Raises OSError while a process still holds it. Blocks."""
    if not link_exists(name):
        return
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
        fcntl.ioctl(tun, TUNSETPERSIST, 0)
    finally:
        os.close(tun)
