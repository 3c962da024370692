"""Volumes used on other nodes than their own: lent by the one, opened by the other, taken back when nobody there is to have them any more."""

from __future__ import annotations

from contextlib import suppress

from msgspec import Struct

from moln.kernel.cloud import Cloud
from moln.kernel.errors import BackendRefused, BackendUnreachable
from moln.volume.drivers.base import Connection, Exports
from moln.volume.model.volumes import Volume
from moln.volume.ops import pools
from moln.volume.store import volumes as store

AREA = "volume-exports"
CALL_S = 30.0


class Holder(Struct, frozen=True):
    """For whom. attachment_id: of what is opened. generation: of who holds it; an older command acts no more when a newer one did."""

    attachment_id: str
    generation: int


class Loan(Struct, frozen=True):
    """A volume that `host` may open. lender: the node that it lies on and lends it; None: what the host itself has of it."""

    volume_id: str
    host: str
    lender: str | None = None


async def lend(cloud: Cloud, volume: Volume, node: str, holder: Holder) -> Connection:
    """How `node` opens a volume of another one. Raises: BackendRefused, BackendUnreachable."""
    export = await _exports(cloud, volume.host or "", node, holder).ensure_export(volume.id, node)
    if (export.volume_id, export.host) != (volume.id, node):  # a stolen host would have `node` open what it likes in place of another's volume
        raise BackendRefused(f"Node {volume.host} does not lend what it was asked for.")
    return await _exports(cloud, node, node, holder).ensure_import(export)


async def take_back(cloud: Cloud, volume_id: str, node: str, holder: Holder) -> None:
    """Nothing that `node` does reaches the volume from now on: its fence. Nothing, for the volume's own node. Raises: BackendRefused, BackendUnreachable."""
    volume = await store.find(cloud.db, volume_id)
    if volume is not None and volume.host is not None and volume.host != node and pools.may_lend(cloud, volume.host):
        await _exports(cloud, volume.host, node, holder).remove_export(volume_id, node)


async def disconnect(cloud: Cloud, volume_id: str, node: str, holder: Holder) -> None:
    """The same at both ends, for who has let go of it. What cannot be done now is done later, by who looks at `loans`."""
    volume = await store.find(cloud.db, volume_id)
    if volume is None or volume.host in (None, node) or not pools.may_lend(cloud, volume.host or ""):
        return
    with suppress(BackendRefused, BackendUnreachable):
        await _exports(cloud, node, node, holder).remove_import(volume_id)
    with suppress(BackendRefused, BackendUnreachable):
        await take_back(cloud, volume_id, node, holder)


async def loans(cloud: Cloud) -> list[Loan]:
    """Every one that there is now, of all nodes that answer."""
    found: list[Loan] = []
    for node in sorted(cloud.links.nodes):
        if pools.lends(cloud, node):
            with suppress(BackendRefused, BackendUnreachable):
                lent = await _exports(cloud, node, node, None).lent()
                found += [Loan(volume_id, host, node) for volume_id, host in lent.exports]
                found += [Loan(volume_id, node) for volume_id in lent.imports]
    return found


async def end_loan(cloud: Cloud, loan: Loan, holder: Holder | None) -> None:
    """Raises: BackendRefused, BackendUnreachable."""
    exports = _exports(cloud, loan.lender or loan.host, loan.host, holder)
    await (exports.remove_import(loan.volume_id) if loan.lender is None else exports.remove_export(loan.volume_id, loan.host))


async def take_back_all(cloud: Cloud, node: str) -> None:
    """Nobody lends that node anything any more."""
    for loan in await loans(cloud):
        if loan.host == node and loan.lender is not None:
            with suppress(BackendRefused, BackendUnreachable):
                await end_loan(cloud, loan, None)


def _exports(cloud: Cloud, node: str, host: str, holder: Holder | None) -> Exports:
    resource, generation = (f"lent:{holder.attachment_id}:{host}", holder.generation) if holder else ("", 0)
    return cloud.links.driver(node, AREA, Exports, resource=resource, generation=generation, deadline_s=CALL_S)
