"""Placing servers: hosts picked in memory, room claimed in the boot's own transaction."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from moln.compute.model.scheduling import Choice, Host, Refusal, Wanted, choose, explain, fits, refusals
from moln.compute.ops.hosts import HostTable, table
from moln.compute.store import server_groups, servers
from moln.kernel.cloud import Cloud
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Invalid
from moln.placement.model.names import DISK_GB, MEMORY_MB, VCPU
from moln.placement.ops import claims, providers

HINTED = 100  # servers that one hint may name
NOWHERE = ""


def pick(cloud: Cloud, wanted: Wanted) -> Choice:
    """Where a server could go, the best host first, from memory alone. Without a host: why not, by host."""
    known = table(cloud)
    found = choose(_pool(known, wanted), wanted, int(cloud.ids.hex(), 16))
    if wanted.near and wanted.group is None:
        found = _nearest_first(known, found, wanted)
    if found:
        found[0].promised_mib += wanted.ram_mib
        return Choice(tuple(found), {}, len(known.hosts), known.by_provider)
    return Choice((), refusals(list(known.hosts.values()), wanted), len(known.hosts))


def _nearest_first(known: HostTable, found: list[Host], wanted: Wanted) -> list[Host]:
    """Hosts where the server's volumes lie come before all others: they open them without a way through the network."""
    near = [known.hosts[name] for name in sorted(wanted.near) if name in known.hosts and fits(known.hosts[name], wanted)]
    return [*near, *(host for host in found if host not in near)]


def _pool(known: HostTable, wanted: Wanted) -> list[Host]:
    """The hosts that are worth looking at."""
    if wanted.host is not None:
        only = known.hosts.get(wanted.host)
        return [only] if only else []
    if wanted.availability_zone is not None:
        return known.ready_in.get(wanted.availability_zone, [])
    return known.ready


async def beside(db: Reader, hints: dict[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """(hosts to avoid, hosts to be on) of the hints `different_host` and `same_host`, which name servers.

    A server of `same_host` that is nowhere leaves no host. Raises: Invalid, for too many.
    """
    avoid, on = [_servers(hints, name) for name in ("different_host", "same_host")]
    found = {s: server.host for s in {*avoid, *on} if (server := await servers.find(db, s)) is not None and server.host}
    where = frozenset(found[s] for s in on if s in found)
    return frozenset(found[s] for s in avoid if s in found), (where or frozenset({NOWHERE})) if on else where


def _servers(hints: dict[str, Any], name: str) -> list[str]:
    value = hints.get(name) or []
    ids = [value] if isinstance(value, str) else [v for v in value if isinstance(v, str)] if isinstance(value, list) else []
    if len(ids) > HINTED:
        raise Invalid(f"The hint {name} may name {HINTED} servers at most.", field=name)
    return ids


def resources(wanted: Wanted) -> dict[str, int]:
    """What placement is asked for."""
    return {**wanted.more, VCPU: wanted.vcpus, MEMORY_MB: wanted.ram_mib, DISK_GB: wanted.disk_gib}


async def place_in(tx: Transaction, choice: Choice, *, server_id: str, project_id: str, user_id: str, wanted: Wanted,
                   now_us: int) -> Host | None:  # fmt: skip
    """Claim room on the first of the chosen hosts that still has it; when all were filled meanwhile, on any other that fits.

    None: nobody has room (`choice.no_valid_host()` says why). Awaits nothing but `tx`; may run again.
    """
    needs = resources(wanted)
    for host in choice.hosts:
        if await _claim(tx, host, needs, server_id, project_id, user_id, now_us):
            return host
    if not choice.hosts or choice.by_provider is None or wanted.host is not None:
        return None
    for provider_id in await providers.with_room(tx, needs):
        other = choice.by_provider(provider_id)
        if other is None or other in choice.hosts or not _may_go(other, wanted):
            continue
        if await _claim(tx, other, needs, server_id, project_id, user_id, now_us):
            return other
    return None


async def with_group_in(tx: Transaction, cloud: Cloud, server_id: str, choice: Choice, wanted: Wanted) -> tuple[Choice, Wanted]:
    """For a server that looks for a host once more: the same, but beside or apart from its group, which is locked until the commit."""
    group = await server_groups.of_server(tx, server_id)
    if group is None:
        return choice, wanted
    await server_groups.lock(tx, group.id)
    wanted = structs.replace(wanted, group=await server_groups.companions(tx, group, but=server_id))
    return pick(cloud, wanted), wanted


async def _claim(tx: Transaction, host: Host, needs: dict[str, int], server_id: str, project_id: str, user_id: str, now_us: int) -> bool:
    return await claims.claim_in(
        tx, now_us=now_us, consumer_id=server_id, project_id=project_id, user_id=user_id, provider_id=host.id, resources=needs
    )


def _may_go(host: Host, wanted: Wanted) -> bool:
    """Whether all but its room, which memory may be late to know of, speaks for a host."""
    refusal = explain(host, wanted)
    return refusal is None or refusal.kind.startswith("lacks ") and refusal.kind != "lacks traits"


def explain_all(cloud: Cloud, wanted: Wanted) -> list[tuple[Host, Refusal | None]]:
    """Every host, and why a server may not go there now (None: it may): for `moln explain`."""
    return [(host, explain(host, wanted)) for host in table(cloud).hosts.values()]


__all__ = ["Choice", "Host", "Wanted", "explain_all", "fits", "pick", "place_in", "resources", "with_group_in"]
