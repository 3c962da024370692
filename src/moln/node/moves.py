"""Servers' moves from and to other machines, and volumes lent between them, for a node of either role: what it goes by, and where others find it.

Imported only there: certificates and TLS cost memory that the node of a single machine spares.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from moln.host import roles
from moln.host.packages import have
from moln.host.places import Places
from moln.host.roles import bracketed
from moln.host.supervise.processes import boot_id
from moln.kernel.http.certificates import member_host
from moln.kernel.link import Streams
from moln.kernel.nodes.joining import STREAMS_PORT
from moln.kernel.nodes.passport import Passport
from moln.node.between import Between
from moln.node.exports import SEEN, NbdExports
from moln.node.tls_streams import TlsStreamServer


class NoFences:
    """What other nodes open is fenced by secrets: a call that names a resource is none of theirs."""

    def admit(self, resource: str, generation: int) -> bool:
        return False


class Moves(Struct):
    """server: where other nodes open what between has for them, on a controller, whose own streams have a unix socket. exports: None, where
    there is no nbdkit: the machine was set up by an older Moln."""

    between: Between
    server: TlsStreamServer | None
    exports: NbdExports | None


def moves_of(places: Places, remote: Any, now_us: Callable[[], int]) -> Moves | None:
    """remote: of a node that joined; None: this is the node of a controller. None where such a machine cannot prove who it is."""
    if remote is not None:
        passport, address, host = remote.passport, remote.address, member_host("node", remote.name)
    else:
        machine = roles.read(places)
        if machine.tls is None:
            return None
        passport, host = Passport(Path(machine.tls.certificate), Path(machine.tls.ca)), member_host("controller", machine.called)
        address = f"{bracketed(machine.address)}:{STREAMS_PORT}"
    between = Between(places, passport, address, host, now_us)
    exports = exports_of(places, address.rpartition(":")[0]) if have("nbdkit") else None
    if remote is not None:
        return Moves(between, None, exports)
    streams = Streams(between.openers, NoFences(), now_us)
    return Moves(between, TlsStreamServer(address, streams, passport, streams), exports)


def exports_of(places: Places, address: str) -> NbdExports:
    """Volumes lent at this address of the machine, and those of others for its QEMUs."""
    return NbdExports(places.host / "lent", places.pool / "volumes", places.libvirt / "run" / SEEN.name, address, boot=boot_id())
