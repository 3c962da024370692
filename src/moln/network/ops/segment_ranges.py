"""Ranges of VLAN tags and tunnel numbers (network v2.0 api-ref, "Network Segment Ranges")."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import structs

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Invalid
from moln.network.model.segments import HIGHEST_VNI, MOST_NUMBERS, SegmentRange, key
from moln.network.ops import authority
from moln.network.ops.addressing import random_int
from moln.network.ops.common import bad, check_revision, conflict, get
from moln.network.store import rows
from moln.network.store import segments as store

TRIES = 16  # random numbers tried before the free ones are looked up


async def seed_in(tx: Transaction, ctx: RequestContext) -> None:
    """Make the default ranges what the settings say."""
    settings, now = ctx.settings.network, ctx.now_us
    low, high = (int(part) for part in settings.vlans.split(":"))
    wanted = [SegmentRange(id="", default=True, network_type="geneve", minimum=1, maximum=MOST_NUMBERS - 1)]
    wanted += [
        SegmentRange(id="", default=True, network_type="vlan", physical_network=name, minimum=low, maximum=high)
        for name in settings.physical_networks
    ]
    for there in await store.ranges.by(tx, "default", 1):
        same = [w for w in wanted if (w.network_type, w.physical_network, w.minimum, w.maximum) == (
            there.network_type, there.physical_network, there.minimum, there.maximum)]  # fmt: skip
        if same:
            wanted.remove(same[0])
        else:
            await store.ranges.remove(tx, there.id)
    for new in wanted:
        await store.ranges.add(tx, structs.replace(new, id=ctx.new_id(), created_at=now, updated_at=now))


async def free_number(tx: Transaction, ctx: RequestContext, project_id: str, kind: str, physical: str | None) -> int:
    """A number nobody has: of the project's own ranges, else of shared ones but for what other projects' ranges keep. Raises: Conflict."""
    fit = [r for r in await store.ranges.by(tx, "network_type", kind) if r.physical_network == physical]
    own = [r for r in fit if not r.shared and r.project_id == project_id]
    kept = [r for r in fit if not r.shared and r.project_id != project_id]
    for ranges, without in ((own, []), ([r for r in fit if r.shared], [*own, *kept])):
        if (number := await _free_of(tx, ctx, ranges, without, kind, physical)) is not None:
            return number
    raise conflict("NoNetworkAvailable", "Unable to create the network. No project network is available for allocation.")


async def _free_of(
    tx: Transaction, ctx: RequestContext, ranges: list[SegmentRange], without: list[SegmentRange], kind: str, physical: str | None
) -> int | None:
    if not ranges:
        return None
    for _ in range(TRIES):
        chosen = ranges[random_int(ctx) % len(ranges)]
        number = chosen.minimum + random_int(ctx) % (chosen.maximum - chosen.minimum + 1)
        if not any(number in other for other in without) and not await store.is_taken(tx, key(kind, physical, number)):
            return number
    taken = {one.segmentation_id for one in await store.used(tx, kind, physical)}
    return next(
        (n for r in ranges for n in range(r.minimum, r.maximum + 1) if n not in taken and not any(n in other for other in without)), None
    )


async def use_of(db: Reader, one: SegmentRange) -> tuple[dict[str, str], list[int]]:
    """Which projects' networks have which of the range's numbers, and the numbers that are free."""
    used = {u.segmentation_id: u.project_id for u in await store.used(db, one.network_type, one.physical_network)}
    inside = {str(number): project for number, project in used.items() if number in one}
    return inside, [number for number in range(one.minimum, one.maximum + 1) if number not in used]


def _check(one: SegmentRange, others: Iterable[SegmentRange], ctx: RequestContext) -> None:
    """Raises: Invalid, Conflict for one that overlaps another that somebody made."""
    most = HIGHEST_VNI if one.network_type == "geneve" else 4094
    if one.network_type == "vlan" and one.physical_network is None:
        raise bad("network_segment_range", "Network type vlan requires 'physical_network' to be specified while creating new range")
    if one.network_type == "vlan" and one.physical_network not in ctx.settings.network.physical_networks:
        raise bad("network_segment_range", f"physical_network '{one.physical_network}' is unknown")
    if not 1 <= one.minimum <= one.maximum <= most:
        raise Invalid(
            f"Invalid network {one.network_type} range: '{one.minimum}:{one.maximum}' - it is not within 1:{most}.",
            type="NetworkVlanRangeError" if one.network_type == "vlan" else "NetworkTunnelRangeError",
            field="minimum",
        )
    if one.maximum - one.minimum >= MOST_NUMBERS:
        raise Invalid(f"A range has at most {MOST_NUMBERS} numbers.", field="maximum")
    if over := [r.id for r in others if not r.default and r.id != one.id and r.overlaps(one)]:
        raise conflict("NetworkSegmentRangeOverlaps", f"Network segment range overlaps with range(s) with id {', '.join(over)}")


async def create_in(
    tx: Transaction, ctx: RequestContext, *, project_id: str, set_: frozenset[str] = frozenset(), **fields: Any
) -> SegmentRange:
    """Keep numbers for a project, or for all. Raises: Forbidden, Invalid, Conflict."""
    authority.require(ctx, "create_network_segment_range", authority.of_project(project_id), set_)
    now = ctx.now_us
    owner = "" if fields["shared"] else project_id
    if fields["network_type"] != "vlan":
        fields["physical_network"] = None
    made = SegmentRange(id=ctx.new_id(), project_id=owner, created_at=now, updated_at=now, **fields)
    _check(made, await store.ranges.all(tx), ctx)
    await store.ranges.add(tx, made)
    return made


async def update_in(
    tx: Transaction, ctx: RequestContext, id: str, *, set_: frozenset[str], revision: int | None = None, **changes: Any
) -> SegmentRange:
    """Rename, or move its ends around what is in use. Raises: NotFound, Forbidden, Invalid, Conflict, PreconditionFailed."""
    one = await get(tx, store.ranges, "network_segment_range", id)
    authority.require(ctx, "update_network_segment_range", authority.of_project(one.project_id), set_)
    check_revision(one.revision_number, revision)
    _not_default(one)
    new = structs.replace(one, **changes)
    inside, _ = await use_of(tx, one)
    if any(int(number) not in new for number in inside):
        raise _referenced(id)
    _check(new, await store.ranges.all(tx), ctx)
    return await store.ranges.save(tx, one, ctx.now_us, **changes)


async def delete_in(tx: Transaction, ctx: RequestContext, id: str, *, revision: int | None = None) -> None:
    """Keep the numbers no longer. Raises: NotFound, Forbidden, Invalid for a default one, Conflict while networks have some."""
    one = await get(tx, store.ranges, "network_segment_range", id)
    authority.require(ctx, "delete_network_segment_range", authority.of_project(one.project_id))
    check_revision(one.revision_number, revision)
    _not_default(one)
    if (await use_of(tx, one))[0]:
        raise _referenced(id)
    await rows.set_tags(tx, id, ())
    await store.ranges.remove(tx, id)


def _not_default(one: SegmentRange) -> None:
    if one.default:
        raise Invalid(
            f"Network Segment Range {one.id} is a default segment range which could not be updated or deleted.",
            type="NetworkSegmentRangeDefaultReadOnly",
        )


def _referenced(id: str) -> Exception:
    return conflict("NetworkSegmentRangeReferencedByProject", f"Network Segment Range {id} is referenced by one or more tenant networks.")
