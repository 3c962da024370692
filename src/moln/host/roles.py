"""What one machine is in its cloud, and what follows from that: steps of set-up, engines, packages. Plain data (docs/adr/0030-roles.md)."""

from __future__ import annotations

import socket
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct

from moln.host.places import Places


class Role(StrEnum):
    """ALL: a cloud of one machine, as `moln up` makes it."""

    ALL = "all"
    CONTROLLER = "controller"
    NODE = "node"


class Part(StrEnum):
    """What runs on a machine. CENTRAL: the APIs and OVN's databases. SWITCH: Open vSwitch as a chassis of OVN. GUESTS: libvirt and its node."""

    CENTRAL = "central"
    SWITCH = "switch"
    GUESTS = "guests"


class Provider(StrEnum):
    """How a machine reaches the provider network. GATEWAY: it is its only router itself, for one machine alone (host/provider.py).

    INTERFACE: by a card without an address. NONE: not at all; addresses of it are translated by machines that do.
    """

    GATEWAY = "gateway"
    INTERFACE = "interface"
    NONE = "none"


class Tls(Struct, frozen=True):
    """PEM files by which a machine proves itself to the cloud, and others to it. key and certificate may be one file.

    The certificate's common name is the machine's name: OVN lets it write its own chassis' rows and no other's.
    """

    key: str
    certificate: str
    ca: str


NORTHBOUND_PORT, SOUTHBOUND_PORT = 6641, 6642  # IANA's for OVN's databases
NORTHBOUND_RAFT_PORT, SOUTHBOUND_RAFT_PORT = 6643, 6644  # members of a cluster among themselves, as ovn-ctl(8) has them
CONTROLLERS_SOUTHBOUND_PORT = 6645  # of controllers alone, who are no chassis
NATS_ROUTES_PORT = 6222
NATS_PORT, ETCD_PORT, ETCD_PEER_PORT, POSTGRESQL_PORT, PATRONI_PORT = 4222, 2379, 2380, 5432, 8008


class Machine(Struct, frozen=True, forbid_unknown_fields=True):
    """One machine. name: of its node and its chassis; empty: the host's. address: on the management network; empty: it is alone.

    provider_interface: the card of the provider network. guests: whether it runs guests; without, it may still carry routers' gateways.
    controllers: a node's way to OVN's southbound databases, addresses. nats: URLs of servers that a controller was given; none: it runs one.
    etcd: the same of etcd, but none: there is none. ovn: the northbound and the southbound database that a controller was given (ovsdb(7)), and
    a node told (the latter); None: they are the controller's own. joined: the controller that this one joined, an address: engines are there, and moln.toml says where.
    postgresql: whether the database of all controllers is on it, too. runs_etcd: whether it runs their etcd.
    clusters: engines of which each controller runs a member, this one too (kernel/controllers/clusters.py). peers: addresses of the controllers whose members this
    one's joined; none: it began them.
    ntp: the site's time servers, which a controller follows; none: those of the distribution. tls: None, where it talks to nobody.
    """

    role: Role = Role.ALL
    name: str = ""
    address: str = ""
    provider_interface: str = ""
    guests: bool = True
    controllers: tuple[str, ...] = ()
    nats: tuple[str, ...] = ()
    etcd: tuple[str, ...] = ()
    ovn: tuple[str, str] | None = None
    joined: str = ""
    postgresql: bool = False
    runs_etcd: bool = False
    clusters: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    ntp: tuple[str, ...] = ()
    tls: Tls | None = None

    @property
    def called(self) -> str:
        """Its name."""
        return self.name or socket.gethostname()

    @property
    def parts(self) -> frozenset[Part]:
        """What runs here."""
        if self.role == Role.ALL:
            return frozenset(Part)
        found = {Part.CENTRAL} if self.role == Role.CONTROLLER else {Part.SWITCH}
        if self.guests:
            found |= {Part.SWITCH, Part.GUESTS}
        if self.provider_interface:
            found.add(Part.SWITCH)
        return frozenset(found)

    @property
    def provider(self) -> Provider:
        if self.provider_interface:
            return Provider.INTERFACE
        return Provider.NONE if self.role == Role.NODE or Part.SWITCH not in self.parts else Provider.GATEWAY

    @property
    def serves_nodes(self) -> bool:
        """Whether it is a controller of nodes on other machines."""
        return self.role == Role.CONTROLLER and bool(self.address)

    @property
    def lends(self) -> bool:
        """Whether other machines' guests may use its volumes, and its guests theirs."""
        return Part.GUESTS in self.parts and (self.role == Role.NODE or self.serves_nodes)

    @property
    def runs_nats(self) -> bool:
        return self.serves_nodes and not self.nats and self._has("nats")

    @property
    def nats_urls(self) -> tuple[str, ...]:
        """Where this controller and its nodes meet; none: nowhere."""
        return self.nats or (tuple(f"tls://{bracketed(a)}:{NATS_PORT}" for a in (self.address, *self.peers)) if self.runs_nats else ())

    @property
    def etcd_urls(self) -> tuple[str, ...]:
        return tuple(f"https://{bracketed(a)}:{ETCD_PORT}" for a in (self.address, *self.peers)) if self.runs_etcd else self.etcd

    @property
    def packages(self) -> tuple[str, ...]:
        """Engines that it runs besides, by their names in packages.py."""
        wanted = (("nats", self.runs_nats), ("postgresql", self.postgresql), ("etcd", self.runs_etcd), ("nbdkit", self.lends))
        return tuple(name for name, runs in wanted if runs)

    @property
    def runs_ovn(self) -> bool:
        """Whether OVN's databases are here."""
        return Part.CENTRAL in self.parts and not self.ovn and self._has("ovn")

    def _has(self, engine: str) -> bool:
        """Whether an engine that no setting places is on this controller: on the first, and on each where it is a cluster."""
        return not self.joined or engine in self.clusters

    @property
    def serves_southbound(self) -> bool:
        """Whether chassis of other machines come to its databases, and other controllers."""
        return self.runs_ovn and bool(self.address) and self.tls is not None

    @property
    def serves_northbound(self) -> bool:
        """Whether other controllers come to its databases: where guests run there are none."""
        return self.serves_southbound and not self.guests

    @property
    def southbound(self) -> str:
        """Where a node's ovn-controller looks (ovsdb(7)); empty: in the machine's own databases."""
        if self.ovn and self.role == Role.NODE:
            return self.ovn[1]
        return ",".join(f"ssl:{bracketed(a)}:{SOUTHBOUND_PORT}" for a in self.controllers)


ALONE = Machine()

EVERY = frozenset(Part)
STEPS: tuple[tuple[str, frozenset[Part]], ...] = (
    ("Packages", EVERY),
    ("Users and directories", EVERY),
    ("Certificates", frozenset({Part.CENTRAL})),
    ("Storage pool", frozenset({Part.CENTRAL, Part.GUESTS})),  # images are the controller's
    ("Provider network", frozenset({Part.SWITCH})),
    ("Tunnels", frozenset({Part.SWITCH})),
    ("Engine configuration", EVERY),
)
"""Titles of set-up's steps in their order, and the parts that need each."""

ENGINES: dict[Part, tuple[str, ...]] = {
    Part.CENTRAL: ("ovsdb-nb", "ovsdb-sb", "ovsdb-nodes", "ovn-northd", "nats-server", "postgresql", "etcd", "controller"),
    Part.SWITCH: ("ovsdb-vswitch", "ovs-vswitchd", "ovn-controller"),
    Part.GUESTS: ("virtlogd", "libvirtd", "node", "metadata"),
}
"""What is kept running, by name."""


def steps(machine: Machine, *, userspace: bool) -> tuple[str, ...]:
    """The titles of this machine's steps. userspace: Open vSwitch forwards in user space here; only then tunnels need any set-up, and only
    where there are other machines."""
    left_out = set() if machine.serves_nodes else {"Certificates"}
    if not (userspace and machine.address):
        left_out.add("Tunnels")
    if machine.provider == Provider.NONE:
        left_out.add("Provider network")
    return tuple(title for title, parts in STEPS if parts & machine.parts and title not in left_out)


def engines(machine: Machine) -> frozenset[str]:
    """Names of the engines that run here."""
    found = frozenset(name for part in machine.parts for name in ENGINES[part])
    found -= frozenset() if machine.runs_ovn else {"ovsdb-nb", "ovsdb-sb", "ovn-northd"}
    besides = {"ovsdb-nodes": machine.runs_ovn and "ovn" in machine.clusters, "nats-server": machine.runs_nats, "postgresql": machine.postgresql, "etcd": machine.runs_etcd}
    return found - {name for name, runs in besides.items() if not runs}


def unneeded(machine: Machine) -> frozenset[str]:
    """Groups of packages (packages.DEBIAN_BASE) that a machine can do without."""
    return frozenset() if Part.GUESTS in machine.parts else frozenset({"libvirt"})


def read(places: Places) -> Machine:
    """What this home's machine is. Raises: msgspec.ValidationError, when another version of Moln wrote it."""
    try:
        return msgspec.json.decode(places.machine.read_bytes(), type=Machine)
    except FileNotFoundError:
        return ALONE


def write(places: Places, machine: Machine) -> None:
    """For every `moln up` to come. Whole or not there."""
    text = msgspec.json.format(msgspec.json.encode(machine)) + b"\n"
    if places.machine.exists() and places.machine.read_bytes() == text:
        return
    new: Path = places.machine.with_suffix(".new")
    new.write_bytes(text)
    new.replace(places.machine)


def bracketed(address: str) -> str:
    """As it stands before a port."""
    return f"[{address}]" if ":" in address else address
