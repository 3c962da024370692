"""etcd of the cloud's own, where several controllers are wanted and none was given: a member on each (docs/adr/0045-quorum.md).

A cloud that an older version began with --ha has one server, on the first controller.
"""

from __future__ import annotations

from moln.host.packages import have
from moln.host.places import USER, Places
from moln.host.roles import ETCD_PEER_PORT, ETCD_PORT, Machine, bracketed
from moln.host.supervise.plan import Engine

NAME = "etcd"


def engine(places: Places, machine: Machine) -> Engine:
    """Ready when controllers find it to be: they begin without."""
    from moln.kernel.etcd.server import arguments

    name = machine.called if NAME in machine.clusters else "first"
    joins = {a: f"https://{bracketed(a)}:{ETCD_PEER_PORT}" for a in machine.peers}  # etcd goes by the URLs; names are its own
    joins |= {name: f"https://{bracketed(machine.address)}:{ETCD_PEER_PORT}"} if joins else {}
    words = arguments(places.home, name, bracketed(machine.address), ETCD_PORT, ETCD_PEER_PORT, joins or None)
    return Engine(NAME, [have(NAME) or f"/usr/bin/{NAME}", *words], env=places.environment(), user=USER)
