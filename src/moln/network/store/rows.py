"""Each resource's table, and the small tables beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from moln.kernel.db import INT, Query, Reader, Statement, Transaction, in_list
from moln.kernel.errors import Conflict
from moln.kernel.work.leaders import Deposed
from moln.network.model.networks import Network
from moln.network.model.ports import FixedIp, Port
from moln.network.model.routers import FloatingIp, Router
from moln.network.model.security_groups import SecurityGroup, SecurityGroupRule
from moln.network.model.sharing import SHARED, RbacPolicy
from moln.network.model.subnet_pools import AddressScope, SubnetPool
from moln.network.model.subnets import Subnet
from moln.network.store import tables as t
from moln.network.store.clauses import granted, shareable, tagged
from moln.network.store.reads import CHUNK, Table


async def mark_allocation(tx: Transaction, pool_id: str) -> bool:
    """Queue behind whoever else takes prefixes of the pool in this moment. False: the pool is gone."""
    return bool(await tx.run(ALLOCATE, id=pool_id))


ALLOCATE = Statement(
    sa.update(t.subnet_pools).where(t.subnet_pools.c.id == sa.bindparam("id")).values(allocations=t.subnet_pools.c.allocations + 1)
)


def _within_networks(column: Any, condition: Any) -> Any:
    return column.in_(sa.select(t.networks.c.id).where(condition))


def _public(name: str) -> Any:
    n = t.networks.c
    return sa.or_(n.project_id == sa.bindparam(name), granted(n.id, name))


networks = Table(
    t.networks, Network, computed={"default_outside": lambda n: 1 if n.external and n.is_default else None},
    extra={**shareable(t.networks), "seen_by": _public},
)  # fmt: skip
subnets = Table(
    t.subnets, Subnet,
    extra={
        "seen_by": lambda p: sa.or_(t.subnets.c.project_id == sa.bindparam(p), _within_networks(t.subnets.c.network_id, _public(p))),
        "net_shared": lambda p: _within_networks(t.subnets.c.network_id, granted(t.networks.c.id, p, SHARED)),
        "not_net_shared": lambda p: _within_networks(t.subnets.c.network_id, sa.not_(granted(t.networks.c.id, p, SHARED))),
        "net_external": lambda p: _within_networks(t.subnets.c.network_id, t.networks.c.external == sa.bindparam(p)),
        **tagged(t.subnets.c.id),
    },
)  # fmt: skip


def _holding(clause: Any) -> Any:
    return t.ports.c.id.in_(sa.select(t.addresses.c.port_id).where(clause))


ports = Table(
    t.ports, Port,
    extra={
        "seen_by": lambda p: sa.or_(
            t.ports.c.project_id == sa.bindparam(p),
            _within_networks(t.ports.c.network_id, t.networks.c.project_id == sa.bindparam(p)),
        ),
        "has_address": lambda p: _holding(in_list(t.addresses.c.ip_address, p)),
        "has_subnet": lambda p: _holding(in_list(t.addresses.c.subnet_id, p)),
        "like_address": lambda p: _holding(sa.func.instr(t.addresses.c.ip_address, sa.bindparam(p)) > 0),
        "in_group": lambda p: t.ports.c.id.in_(sa.select(t.port_groups.c.port_id).where(in_list(t.port_groups.c.group_id, p))),
        **tagged(t.ports.c.id),
    },
)  # fmt: skip
routers = Table(t.routers, Router, extra={"seen_by": lambda p: t.routers.c.project_id == sa.bindparam(p), **tagged(t.routers.c.id)})
floating_ips = Table(
    t.floating_ips, FloatingIp,
    extra={"seen_by": lambda p: t.floating_ips.c.project_id == sa.bindparam(p), **tagged(t.floating_ips.c.id)},
)  # fmt: skip
groups = Table(t.groups, SecurityGroup, extra=shareable(t.groups))
rbac = Table(t.rbac, RbacPolicy, extra={"seen_by": lambda p: t.rbac.c.project_id == sa.bindparam(p)})
address_scopes = Table(t.address_scopes, AddressScope, extra=shareable(t.address_scopes))
subnet_pools = Table(
    t.subnet_pools, SubnetPool, computed={"default_for": lambda pool: pool.ip_version if pool.is_default else None},
    constants={"allocations": 0}, extra=shareable(t.subnet_pools),
)  # fmt: skip
rules = Table(
    t.rules, SecurityGroupRule, computed={"sameness": lambda rule: str(rule.sameness())},
    extra={
        "seen_by": lambda p: t.rules.c.security_group_id.in_(sa.select(t.groups.c.id).where(t.groups.c.project_id == sa.bindparam(p))),
        "default_group": lambda p: t.rules.c.security_group_id.in_(sa.select(t.groups.c.id).where(t.groups.c.is_default == sa.bindparam(p))),
    },
)  # fmt: skip

class Held(Struct, frozen=True):
    """One address and the port that has it."""

    subnet_id: str
    ip_address: str
    port_id: str


_held = sa.select(t.addresses.c.subnet_id, t.addresses.c.ip_address, t.addresses.c.port_id)
HELD_IN_SUBNET = Query(_held.where(t.addresses.c.subnet_id == sa.bindparam("subnet_id")), Held)
HELD_ALL = Query(_held, Held)
HELD_AT = Query(
    _held.join(t.ports, t.ports.c.id == t.addresses.c.port_id).where(
        t.ports.c.network_id == sa.bindparam("network_id"), t.addresses.c.ip_address == sa.bindparam("ip_address")
    ),
    Held,
)
COUNT_IN_SUBNET = Query(sa.select(sa.func.count()).where(t.addresses.c.subnet_id == sa.bindparam("subnet_id")), int)


async def held_in(db: Reader, subnet_id: str) -> list[Held]:
    return await db.all(HELD_IN_SUBNET, subnet_id=subnet_id)


async def count_in(db: Reader, subnet_id: str) -> int:
    return await db.one(COUNT_IN_SUBNET, subnet_id=subnet_id) or 0


async def holder_of(db: Reader, network_id: str, ip_address: str) -> str | None:
    """The id of the port that has the address on the network."""
    found = await db.all(HELD_AT, network_id=network_id, ip_address=ip_address)
    return found[0].port_id if found else None


async def hold(tx: Transaction, port_id: str, ip: FixedIp) -> bool:
    """Take an address. False: another port has it."""
    row = {"subnet_id": ip.subnet_id, "ip_address": ip.ip_address, "port_id": port_id}
    return await tx.insert(t.addresses, row, if_absent=True)


async def let_go(tx: Transaction, port_id: str, ip: FixedIp | None = None) -> None:
    """Give back one address of a port, or all."""
    if ip is None:
        await tx.delete(t.addresses, port_id=port_id)
    else:
        await tx.delete(t.addresses, port_id=port_id, subnet_id=ip.subnet_id, ip_address=ip.ip_address)


class Meeting(Struct, frozen=True):
    """A router's port in a subnet."""

    router_id: str
    subnet_id: str
    port_id: str


_meeting = sa.select(t.router_subnets.c.router_id, t.router_subnets.c.subnet_id, t.router_subnets.c.port_id)
MEETINGS_OF = Query(_meeting.where(t.router_subnets.c.router_id == sa.bindparam("router_id")), Meeting)
MEETINGS_IN = Query(_meeting.where(in_list(t.router_subnets.c.subnet_id, "subnet_ids")), Meeting)


async def meetings_of(db: Reader, router_id: str) -> list[Meeting]:
    """Subnets a router has interfaces in."""
    return await db.all(MEETINGS_OF, router_id=router_id)


async def meetings_in(db: Reader, subnet_ids: Iterable[str]) -> list[Meeting]:
    """Routers with interfaces in these subnets."""
    return await db.all(MEETINGS_IN, subnet_ids=sorted(set(subnet_ids)))


async def meet(tx: Transaction, router_id: str, subnet_id: str, port_id: str) -> bool:
    """False: the router is in the subnet already."""
    row = {"router_id": router_id, "subnet_id": subnet_id, "port_id": port_id}
    return await tx.insert(t.router_subnets, row, if_absent=True)


async def part(tx: Transaction, port_id: str, subnet_id: str | None = None) -> None:
    """A router's port leaves a subnet, or all."""
    by = {"port_id": port_id} | ({"subnet_id": subnet_id} if subnet_id else {})
    await tx.delete(t.router_subnets, **by)


NETWORKS_ON = Query(sa.select(t.ports.c.host_id, t.ports.c.network_id).where(in_list(t.ports.c.host_id, "host_ids")).distinct(), dict)


async def networks_on(db: Reader, host_ids: Sequence[str]) -> dict[str, list[str]]:
    """Ids of networks with a port plugged into each node."""
    found: dict[str, list[str]] = {}
    for row in await db.all(NETWORKS_ON, host_ids=list(host_ids)):
        found.setdefault(row["host_id"], []).append(row["network_id"])
    return found


async def wear(tx: Transaction, port_id: str, group_ids: Iterable[str], *, fresh: bool = False) -> None:
    """Make a port's groups exactly these. fresh: it has none yet."""
    if not fresh:
        await tx.delete(t.port_groups, port_id=port_id)
    for group_id in dict.fromkeys(group_ids):
        await tx.insert(t.port_groups, {"port_id": port_id, "group_id": group_id})


WEARERS = Query(sa.select(t.port_groups.c.port_id).where(t.port_groups.c.group_id == sa.bindparam("group_id")).limit(1), str)
REMOTE_USERS = Query(sa.select(t.rules.c.security_group_id).where(t.rules.c.remote_group_id == sa.bindparam("group_id")), str)


async def is_worn(db: Reader, group_id: str) -> bool:
    return await db.one(WEARERS, group_id=group_id) is not None


async def default_group_id(db: Reader, project_id: str) -> str | None:
    return await db.one(DEFAULT_GROUP, project_id=project_id)


DEFAULT_GROUP = Query(sa.select(t.default_groups.c.group_id).where(t.default_groups.c.project_id == sa.bindparam("project_id")), str)


async def name_default(tx: Transaction, project_id: str, group_id: str) -> None:
    """Raises: Duplicate."""
    await tx.insert(t.default_groups, {"project_id": project_id, "group_id": group_id})


async def unname_default(tx: Transaction, group_id: str) -> None:
    await tx.delete(t.default_groups, group_id=group_id)


class Tagged(Struct, frozen=True):
    resource_id: str
    tag: str


TAGS = Query(sa.select(t.tags.c.resource_id, t.tags.c.tag).where(in_list(t.tags.c.resource_id, "ids")).order_by(t.tags.c.tag), Tagged)


async def tags_of(db: Reader, ids: Iterable[str]) -> dict[str, list[str]]:
    """Tags by resource id."""
    wanted, found = sorted(set(ids)), dict[str, list[str]]()
    for start in range(0, len(wanted), CHUNK):
        for row in await db.all(TAGS, ids=wanted[start : start + CHUNK]):
            found.setdefault(row.resource_id, []).append(row.tag)
    return found


WITH_TAG = Query(sa.select(t.tags.c.resource_id).where(t.tags.c.tag == sa.bindparam("tag")), str)


async def tagged_with_all(db: Reader, tags: Iterable[str]) -> list[str]:
    """Ids of what has every one of the tags."""
    found = [set(await db.all(WITH_TAG, tag=tag)) for tag in dict.fromkeys(tags)]
    return sorted(set.intersection(*found)) if found else []


async def set_tags(tx: Transaction, resource_id: str, wanted: Iterable[str]) -> None:
    await tx.delete(t.tags, resource_id=resource_id)
    for tag in sorted(set(wanted)):
        await tx.insert(t.tags, {"resource_id": resource_id, "tag": tag})


async def first_time(tx: Transaction, name: str) -> bool:
    """Whether nobody asked this before, in the cloud's whole life."""
    return await tx.insert(t.writers, {"name": name, "epoch": 0}, if_absent=True)


EPOCH = Query(sa.select(t.writers.c.epoch).where(t.writers.c.name == sa.bindparam("name")), int)
RAISE = Statement(
    sa.update(t.writers)
    .where(t.writers.c.name == sa.bindparam("writer"), t.writers.c.epoch == sa.bindparam("old", type_=INT))
    .values(epoch=sa.bindparam("new", type_=INT))
)


async def next_epoch(tx: Transaction, least: int) -> int:
    """A higher number than any before, and at least `least`: the engine may remember more than a new database does."""
    await tx.insert(t.writers, {"name": "ovn", "epoch": 0}, if_absent=True)
    old = await tx.one(EPOCH, name="ovn") or 0
    new = max(old + 1, least)
    if not await tx.run(RAISE, writer="ovn", old=old, new=new):
        raise Conflict("Another controller takes over the network at this moment.")
    return new


async def take_epoch(tx: Transaction, token: int) -> int:
    """A leader's epoch is its token. Raises: Deposed, when a higher one was here."""
    await tx.insert(t.writers, {"name": "ovn", "epoch": 0}, if_absent=True)
    old = await tx.one(EPOCH, name="ovn") or 0
    if old > token:
        raise Deposed("Another controller writes the network engine by now.", detail=f"epoch {old}, not {token}")
    if old < token:
        await tx.run(RAISE, writer="ovn", old=old, new=token)
    return token
