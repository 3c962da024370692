"""POST /servers: everything is checked first, then committed at once or not at all (DESIGN, "One-transaction boot")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct, structs

from moln.compute.model import wishes
from moln.compute.model.flavors import Flavor
from moln.compute.model.scheduling import Choice, Wanted
from moln.compute.model.server_groups import ServerGroup
from moln.compute.model.server_requests import ServerRequest, sanitize_hostname
from moln.compute.model.servers import Fault, Server, TaskState, VmState, addresses_of
from moln.compute.model.servers import Flavor as FlavorThen
from moln.compute.ops import flavors, hosts, keypairs, scheduling, server_disks, server_files, server_groups, server_networks
from moln.compute.ops.quotas import QUOTA
from moln.compute.ops.server_disks import DiskPlan, Sizes
from moln.compute.ops.server_networks import NetworkPlan
from moln.compute.store import instance_actions
from moln.compute.store import servers as store
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Forbidden, Invalid, NotFound, OverQuota
from moln.network.ops import reach
from moln.volume.ops import for_compute

PATIENCE_S = 900
MOST_AT_ONCE = 1000  # servers of one request
P = "os_compute_api:servers:create"
PASSWORD_LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


class Plan(Struct, frozen=True):
    """All that was found out before the transaction. ids: of the servers, in order; choices: a host's candidates for each,
    none where there is a group: who is where in it is known for certain in the transaction only.
    """

    request: ServerRequest
    flavor: Flavor
    disks: DiskPlan
    networks: NetworkPlan
    key_data: str | None
    wanted: Wanted
    ids: tuple[str, ...]
    choices: tuple[Choice, ...]
    reservation_id: str
    group: ServerGroup | None = None


class Created(Struct, frozen=True):
    """servers: as they were committed."""

    servers: tuple[Server, ...]
    reservation_id: str


async def create(ctx: RequestContext, request: ServerRequest) -> Created:
    """Record that the project wants servers, with their ports, volumes, quota, claim and work. work/servers.py makes them.

    Raises: Forbidden, OverQuota, Invalid, Conflict. Without a valid host the server is there, in ERROR.
    """
    authorise(ctx, request)
    plan = await prepare(ctx, request)
    return await ctx.db.write(create_in, ctx, plan)


def authorise(ctx: RequestContext, request: ServerRequest) -> None:
    """Raises: Forbidden."""
    target = {"project_id": ctx.project_id, "user_id": ctx.user_id}
    ctx.require("compute", P, target)
    if ctx.project_id is None:
        raise Forbidden("A server needs a project: the token has none.")
    if request.forced:
        ctx.require("compute", f"{P}:forced_host", target)
    elif request.host or request.node:
        ctx.require("compute", "compute:servers:create:requested_destination", target)
    if request.block_devices:
        ctx.require("compute", f"{P}:attach_volume", target)
    if request.networks and request.networks != "none":
        ctx.require("compute", f"{P}:attach_network", target)


async def prepare(ctx: RequestContext, request: ServerRequest) -> Plan:
    """Look everything up and check it. Raises: Invalid, Conflict, Forbidden."""
    try:
        flavor = await flavors.for_boot(ctx.db, ctx, request.flavor_ref)
    except NotFound:
        raise Invalid(f"Flavor {request.flavor_ref} could not be found.", field="flavorRef") from None
    check_place(ctx, request)
    await check_metadata(ctx, request.metadata)
    await server_files.check(ctx, request.files)
    key_data = None
    if request.key_name is not None:
        key = await keypairs.find(ctx.db, ctx.user_id or "", request.key_name)
        if key is None:
            raise Invalid("Invalid key_name provided.", field="key_name")
        key_data = key.public_key
    disks = await server_disks.plan(ctx, request, Sizes(flavor.disk_gib, flavor.ephemeral_gib, flavor.swap_mib, flavor.ram_mib))
    server_disks.check_disk_config(request.image_ref or "", disks.image_properties, request.disk_config)
    networks = await server_networks.plan(ctx, request)
    if request.max_count > 1 and request.hostname and "%" not in request.hostname:
        raise Invalid("Unable to allocate a single hostname to multiple instances", field="hostname")
    avoid, beside = await scheduling.beside(ctx.db, request.scheduler_hints)
    group = await server_groups.hinted(ctx, request.scheduler_hints)
    wanted = wishes.wanted(
        vcpus=flavor.vcpus, ram_mib=flavor.ram_mib, disk_gib=disks.local_gib, extra_specs=flavor.extra_specs,
        image_properties=disks.image_properties, availability_zone=request.zone, host=only_host(request, disks), exclude=avoid,
        cut_off=await reach.cut_off(ctx.db, [card.network for card in networks.cards]), same_as=beside,
    )  # fmt: skip
    wanted = structs.replace(wanted, near=disks.near, out_of_reach=for_compute.out_of_reach(ctx.cloud, disks.near))
    ids = tuple(ctx.new_id() for _ in range(await count_at_most(ctx, request, flavor)))
    choices = tuple(scheduling.pick(ctx.cloud, wanted) for _ in ids) if group is None else ()
    return Plan(request, flavor, disks, networks, key_data, wanted, ids, choices, f"r-{ctx.new_id()[:8]}", group)


async def count_at_most(ctx: RequestContext, request: ServerRequest, flavor: Flavor) -> int:
    """How many servers to prepare: no more than quota could ever allow, nor than MOST_AT_ONCE. Raises: OverQuota, Invalid."""
    if request.max_count == 1:
        return 1
    project = ctx.project_id or ""
    limits = await QUOTA.limits(ctx.db, project)
    most = min([MOST_AT_ONCE, *(limits[r] // n for r, n in demand(flavor).items() if n and limits[r] >= 0)])
    if request.min_count <= most:
        return min(request.max_count, most)
    if request.min_count > MOST_AT_ONCE and most == MOST_AT_ONCE:
        raise Invalid(f"min_count must be {MOST_AT_ONCE} at most.", field="min_count")
    over = [r for r, n in demand(flavor).items() if n and 0 <= limits[r] < n * request.min_count]
    raise over_quota(over, demand(flavor), request.min_count, limits, await QUOTA.used(ctx.db, project))


def demand(flavor: Flavor) -> dict[str, int]:
    """What one server takes of a quota."""
    return {"instances": 1, "cores": flavor.vcpus, "ram": flavor.ram_mib}


def over_quota(over: Sequence[str], each: dict[str, int], count: int, limits: dict[str, int], used: dict[str, int]) -> OverQuota:
    """In Nova's words."""
    names = sorted(over)
    asked, had, most = (", ".join(str(v) for v in vs) for vs in (
        [each[n] * count for n in names], [used.get(n, 0) for n in names], [limits[n] for n in names]))  # fmt: skip
    what = ", ".join(names)
    return OverQuota(f"Quota exceeded for {what}: Requested {asked}, but already used {had} of {most} {what}", resources=tuple(names))


def check_place(ctx: RequestContext, request: ServerRequest) -> None:
    """Raises: Invalid, for a zone or host that there is not. A forced host is looked for by the scheduler."""
    if request.zone is not None and not hosts.zones(ctx.cloud).get(request.zone):
        raise Invalid("The requested availability zone is not available", field="availability_zone")
    for name in () if request.forced else (request.host, request.node):
        if name is not None and name not in hosts.table(ctx.cloud).hosts:
            raise Invalid(f"Compute host {name} could not be found.", field="host")


def only_host(request: ServerRequest, disks: DiskPlan) -> str | None:
    """The one host that it may be, as asked or because its volumes lie there. Raises: Invalid, when they contradict each other."""
    asked = {h for h in (request.host, request.node) if h} | disks.hosts
    if len(asked) > 1:
        raise Invalid(f"The volumes and the host asked for are in different places: {', '.join(sorted(asked))}.")
    return next(iter(asked), None)


async def check_metadata(ctx: RequestContext, metadata: dict[str, str]) -> None:
    """Raises: OverQuota."""
    if not metadata:
        return
    most = (await QUOTA.limits(ctx.db, ctx.project_id or "")).get("metadata_items", 128)
    if 0 <= most < len(metadata):
        raise OverQuota(f"Maximum number of metadata items exceeds {most}", resources=("metadata_items",))


async def create_in(tx: Transaction, ctx: RequestContext, plan: Plan) -> Created:
    """The transaction. Awaits nothing but `tx`; may run again."""
    count = await charge(tx, ctx, plan)
    made = []
    for index in range(count):
        made.append(await _create_one(tx, ctx, plan, index, count))
    for server in made:
        tx.wake("servers", server.id)
    return Created(tuple(made), plan.reservation_id)


async def charge(tx: Transaction, ctx: RequestContext, plan: Plan) -> int:
    """Take quota for as many as may be, at least `min_count`. Raises: OverQuota, in Nova's words."""
    project, request, each = ctx.project_id or "", plan.request, demand(plan.flavor)
    count = len(plan.ids)
    if count > request.min_count:
        limits, used = await QUOTA.limits(tx, project), await QUOTA.used(tx, project)
        room = [(limits[r] - used.get(r, 0)) // n for r, n in each.items() if n and limits[r] >= 0]
        count = max(request.min_count, min([count, *room]))
    try:
        await QUOTA.charge(tx, project, **{r: n * count for r, n in each.items()})
    except OverQuota as over:
        limits, used = await QUOTA.limits(tx, project), await QUOTA.used(tx, project)
        raise over_quota(over.resources, each, count, limits, used) from None
    return count


async def _create_one(tx: Transaction, ctx: RequestContext, plan: Plan, index: int, count: int) -> Server:
    request, flavor, server_id = plan.request, plan.flavor, plan.ids[index]
    now, project = ctx.now_us, ctx.project_id or ""
    name, hostname = names(request, server_id, index, count)
    common: dict[str, Any] = {
        "id": server_id, "project_id": project, "user_id": ctx.user_id or "", "name": name, "hostname": hostname,
        "description": request.description, "created_at": now, "updated_at": now, "flavor_id": flavor.id,
        "flavor": FlavorThen(
            flavor.vcpus, flavor.ram_mib, flavor.disk_gib, flavor.ephemeral_gib, flavor.swap_mib, flavor.name, flavor.extra_specs
        ),
        "image_id": plan.disks.image.id if plan.disks.image else None, "image_properties": plan.disks.image_properties,
        "pinned_az": request.zone, "key_name": request.key_name, "key_data": plan.key_data,
        "config_drive": request.config_drive or plan.disks.image_properties.get("img_config_drive") == "mandatory",
        "metadata": request.metadata, "tags": tuple(dict.fromkeys(request.tags)), "access_ip_v4": request.access_ip_v4,
        "access_ip_v6": request.access_ip_v6, "disk_config": request.disk_config, "reservation_id": plan.reservation_id,
        "launch_index": index, "root_device": "/dev/vda", "scheduler_hints": request.scheduler_hints,
    }  # fmt: skip
    choice, wanted = await _choice_in(tx, ctx, plan, index)
    host = await scheduling.place_in(
        tx, choice, server_id=server_id, project_id=project, user_id=ctx.user_id or "", wanted=wanted, now_us=now
    )
    await instance_actions.begin(tx, ctx, server_id, "create", "compute__do_build_and_run_instance", host.name if host else None)
    if host is None:
        fault = Fault(500, choice.no_valid_host(), now)
        server = Server(**common, vm_state=VmState.ERROR, fault=fault, unsettled=False)
        await store.add(tx, server, request.user_data, request.files)
        await instance_actions.finish(tx, server, "create", now, error=fault.message)
        return server
    nics = await server_networks.allocate_in(
        tx, ctx, plan.networks.cards, plan.networks.groups, server_id=server_id, host=host.name, zone=host.zone, hostname=hostname,
        project_id=project,
    )  # fmt: skip
    disks, volumes = await server_disks.allocate_in(tx, ctx, plan.disks, server_id=server_id, host=host.name, project_id=project)
    server = Server(
        **common, vm_state=VmState.BUILDING, task_state=TaskState.SPAWNING, host=host.name, az=host.zone, nics=nics,
        addresses=addresses_of(nics), disks=disks, volumes=volumes, deadline=now + PATIENCE_S * 1_000_000,
    )  # fmt: skip
    await store.add(tx, server, request.user_data, request.files)
    return server


async def _choice_in(tx: Transaction, ctx: RequestContext, plan: Plan, index: int) -> tuple[Choice, Wanted]:
    """Where the server at `index` may go: beside or apart from those that are in its group at this moment. Raises: Invalid, OverQuota."""
    if plan.group is None:
        return plan.choices[index], plan.wanted
    wanted = structs.replace(plan.wanted, group=await server_groups.join_in(tx, ctx, plan.group, plan.ids[index]))
    return scheduling.pick(ctx.cloud, wanted), wanted


def names(request: ServerRequest, server_id: str, index: int, count: int) -> tuple[str, str]:
    """(name, host name) of the server at `index` of `count`."""
    hostname = request.hostname or ""
    if not hostname:
        hostname = sanitize_hostname(request.name) or f"Server-{server_id}"
        if count > 1:
            hostname = f"{hostname[:56]}-{index + 1}"
    return (f"{request.name}-{index + 1}" if count > 1 else request.name), hostname


def password(ctx: RequestContext) -> str:
    """12 random letters and digits, for `adminPass`."""
    number = int(ctx.new_id().replace("-", ""), 16)
    out = ""
    for _ in range(12):
        number, at = divmod(number, len(PASSWORD_LETTERS))
        out += PASSWORD_LETTERS[at]
    return out
