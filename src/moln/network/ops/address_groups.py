"""Address groups: what a caller may do to them (network v2.0 api-ref, "Address groups")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Invalid, NotFound
from moln.network.model.address_groups import AddressGroup
from moln.network.model.addresses import parse_cidr
from moln.network.ops import authority, sharing
from moln.network.ops.common import QUOTA, check_revision, conflict, get, look_at, missing
from moln.network.store import rows
from moln.network.store.address_groups import address_groups as table


async def create_in(
    tx: Transaction, ctx: RequestContext, *, project_id: str, set_: frozenset[str] = frozenset(), addresses: Sequence[str] = (), **fields: Any
) -> AddressGroup:
    """Record a group. Raises: Forbidden, OverQuota."""
    authority.require(ctx, "create_address_group", authority.of_project(project_id), set_)
    await QUOTA.charge(tx, project_id, address_group=1)
    now = ctx.now_us
    kept = tuple(dict.fromkeys(addresses))
    group = AddressGroup(id=ctx.new_id(), project_id=project_id, addresses=kept, created_at=now, updated_at=now, **fields)
    await table.add(tx, group)
    look_at(tx, "addresses", group.id)
    return group


async def update_in(
    tx: Transaction, ctx: RequestContext, id: str, *, set_: frozenset[str], revision: int | None = None, **changes: Any
) -> AddressGroup:
    """Rename or describe it. Raises: NotFound, Forbidden, PreconditionFailed."""
    group = await get(tx, table, "address_group", id)
    authority.require(ctx, "update_address_group", authority.of_shareable(ctx, group), set_)
    check_revision(group.revision_number, revision)
    return await table.save(tx, group, ctx.now_us, **changes)


async def change_addresses_in(
    tx: Transaction, ctx: RequestContext, id: str, action: str, addresses: Sequence[str], revision: int | None = None
) -> AddressGroup:
    """`add_addresses` that are not there, or `remove_addresses` that are. Raises: NotFound, Forbidden, Invalid."""
    group = await get(tx, table, "address_group", id)
    authority.require(ctx, action, authority.of_shareable(ctx, group))
    check_revision(group.revision_number, revision)
    group = await table.bump(tx, group, ctx.now_us)  # others that change the group wait here
    wanted = list(dict.fromkeys(addresses))
    if action == "remove_addresses":
        wanted = [_kept(address) for address in wanted]
    if action == "add_addresses":
        if there := [a for a in wanted if a in group.addresses]:
            raise Invalid(f"Addresses {there} already exist in the address group {id}.", type="AddressesAlreadyExist")
        left = (*group.addresses, *wanted)
    else:
        if absent := [a for a in wanted if a not in group.addresses]:
            raise NotFound(f"Addresses {absent} not found in the address group {id}.", type="AddressesNotFound")
        left = tuple(a for a in group.addresses if a not in wanted)
    await tx.update(table.table, {"addresses": left}, id=id)
    look_at(tx, "addresses", id)
    return await get(tx, table, "address_group", id)


def _kept(address: str) -> str:
    """An address as a group keeps it; what is none stays as it is."""
    try:
        return str(parse_cidr(address, host_bits=True))
    except Invalid:
        return address


async def delete_in(tx: Transaction, ctx: RequestContext, id: str, *, revision: int | None = None) -> None:
    """Remove a group that no rule names. Raises: NotFound, Forbidden, Conflict."""
    group = await get(tx, table, "address_group", id)
    authority.require(ctx, "delete_address_group", authority.of_shareable(ctx, group))
    check_revision(group.revision_number, revision)
    if await rows.rules.by(tx, "remote_address_group_id", id):
        raise conflict("AddressGroupInUse", f"Address group {id} is in use on one or more security group rules.")
    await sharing.forget_in(tx, id)
    await table.remove(tx, id)
    await QUOTA.refund(tx, group.project_id, address_group=1)
    look_at(tx, "addresses", id)


async def check_usable(db: Reader, ctx: RequestContext, id: str | None) -> None:
    """The group that a rule is to name is one the caller may know of. Raises: NotFound."""
    group = None if id is None else await table.find(db, id)
    if id is not None and (group is None or not authority.sees(ctx, "address_group", authority.of_shareable(ctx, group))):
        raise missing("address_group", id)
