"""etcd of the cloud's own, where several controllers are wanted and none was given: one server, on the first controller."""

from __future__ import annotations

from moln.host.packages import have
from moln.host.places import USER, Places
from moln.host.roles import ETCD_PEER_PORT, ETCD_PORT, Machine, bracketed
from moln.host.supervise.plan import Engine

NAME = "etcd"


def engine(places: Places, machine: Machine) -> Engine:
    """Ready when controllers find it to be: they begin without."""
    from moln.kernel.etcd.server import arguments

    words = arguments(places.home, "first", bracketed(machine.address), ETCD_PORT, ETCD_PEER_PORT)
    return Engine(NAME, [have(NAME) or f"/usr/bin/{NAME}", *words], env=places.environment(), user=USER)
