"""A server's cards: which networks and ports are asked for, ports made or taken in the boot's transaction, and given back."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from moln.compute.model.server_requests import NetworkRequest, ServerRequest
from moln.compute.model.servers import Address, Nic, Server
from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from moln.network.model.networks import Network
from moln.network.model.ports import Port
from moln.network.ops import auto_topologies, bindings, floating_ips, networks, ports, security_groups, subnets

OWNER = "compute:"


class Card(Struct, frozen=True):
    """One card to be made: on a network, or through a port."""

    network: Network
    port_id: str | None = None
    fixed_ip: str | None = None
    tag: str | None = None


class NetworkPlan(Struct, frozen=True):
    """groups: names by id of the security groups of the ports that are made; None: the project's default group."""

    cards: tuple[Card, ...] = ()
    groups: dict[str, str] | None = None


async def plan(ctx: RequestContext, request: ServerRequest) -> NetworkPlan:
    """Check what is asked for. Raises: Invalid, Conflict, Forbidden, in Nova's words."""
    groups = await group_ids(ctx, request.security_groups)
    if request.networks == "none":
        return NetworkPlan()
    if not request.networks or request.networks == "auto":
        return NetworkPlan(await _implied(ctx, auto=request.networks == "auto"), groups)
    seen: set[str] = set()
    cards = []
    for asked in request.networks:
        if asked.port_id is not None:
            if asked.port_id in seen:
                raise Invalid(f"Port ID '{asked.port_id}' was specified twice: you cannot attach a port multiple times.")
            if request.max_count > 1:
                raise Invalid(
                    "Failed to launch multiple instances with a single configured port ID. Please launch your instance one by one "
                    "with different ports."
                )
            seen.add(asked.port_id)
        if asked.fixed_ip is not None and request.max_count > 1:
            raise Invalid("Failed to launch instances: max_count cannot be greater than 1 if an fixed_ip is specified.")
        cards.append(await card_for(ctx.db, ctx, asked))
    return NetworkPlan(tuple(cards), groups)


async def group_ids(ctx: RequestContext, asked: Sequence[str] | None) -> dict[str, str] | None:
    """Names by id of security groups given by either. Raises: Invalid, Conflict."""
    if not asked:
        return None
    project = ctx.project_id or ""
    if "default" in asked:
        await security_groups.ensure_default(ctx, project)
    out: dict[str, str] = {}
    for name in dict.fromkeys(asked):
        try:
            out |= dict(await security_groups.named(ctx.db, project, [name]))
        except NotFound:
            raise Invalid(f"Security group {name} not found for project {project}.", field="security_groups") from None
    return out


async def _implied(ctx: RequestContext, *, auto: bool) -> tuple[Card, ...]:
    """The one network that the project can use; with `auto`, one made for it. Raises: Conflict, when there are several; Invalid, for none."""
    found = [n for n in await networks.visible(ctx.db, ctx) if not n.external and (n.admin_state_up or not auto)]
    if len(found) > 1:
        raise Conflict("Multiple possible networks found, use a Network ID to be more specific.")
    if not found and auto:
        found = [await _allocated(ctx)]
    for one in found:
        await _check_subnet(ctx.db, one)
    return tuple(Card(one) for one in found)


async def _allocated(ctx: RequestContext) -> Network:
    """The network that is made for a project that has none; it stays, whatever becomes of the server. Raises: Invalid."""
    try:
        network_id = await ctx.db.write(auto_topologies.get_in, ctx, ctx.project_id or "")
        found = await networks.find(ctx.db, network_id)
    except (Conflict, Forbidden):
        found = None
    if found is None:
        raise Invalid(f"Unable to automatically allocate a network for project {ctx.project_id}")
    return found


async def card_for(db: Reader, ctx: RequestContext, asked: NetworkRequest) -> Card:
    """Raises: Invalid, Conflict, Forbidden."""
    if asked.port_id is not None:
        port = await ports.find(db, asked.port_id)
        if port is None or port.project_id != ctx.project_id and not ctx.is_admin:
            raise Invalid(f"Port id {asked.port_id} could not be found.", field="port")
        if port.device_id:
            raise Conflict(f"Port {port.id} is still in use.")
        at = await networks.find(db, port.network_id)
        if at is None:
            raise Invalid(f"Network {port.network_id} could not be found.")
        if not port.fixed_ips and await subnets.of_networks(db, [at.id]):
            raise Invalid(f"Port {port.id} requires a FixedIP in order to be used.", field="port")
        return Card(at, port.id, None, asked.tag)
    at = await networks.find(db, asked.network_id or "")
    if at is None or not (at.usable_by(ctx.project_id) or at.outside_of(ctx.project_id) or ctx.is_admin):
        raise Invalid(f"Network {asked.network_id} could not be found.", field="networks")
    if at.external and not at.shared_to(ctx.project_id) and not ctx.allows("compute", "network:attach_external_network"):
        raise Forbidden(f"It is not allowed to create an interface on external network {at.id}")
    await _check_subnet(db, at)
    return Card(at, None, asked.fixed_ip, asked.tag)


async def _check_subnet(db: Reader, at: Network) -> None:
    if at.port_security_enabled and not await subnets.of_networks(db, [at.id]):
        raise Invalid(f"Network {at.id} requires a subnet in order to boot instances on.", field="networks")


async def allocate_in(tx: Transaction, ctx: RequestContext, cards: Sequence[Card], groups: dict[str, str] | None, *, server_id: str,
                      host: str, zone: str, hostname: str, project_id: str, state: str = "attached") -> tuple[Nic, ...]:  # fmt: skip
    """Make or take the ports. Raises: Invalid, Conflict, OverQuota."""
    made: list[tuple[Port, Card]] = []
    for card in cards:
        if card.port_id is not None:
            try:
                port = await ports.bind_in(
                    tx, ctx, card.port_id, device_id=server_id, device_owner=OWNER + zone, host_id=host, dns_name=hostname
                )
            except NotFound:
                raise Invalid(f"Port id {card.port_id} could not be found.", field="port") from None
        else:
            port = await _make(tx, ctx, card, groups, project_id=project_id, device_id=server_id, device_owner=OWNER + zone, host_id=host,
                               dns_name=hostname)  # fmt: skip
        made.append((port, card))
    names = dict(groups or {})
    if groups is None:
        names = {g: "default" for p, c in made if c.port_id is None for g in p.security_groups}
    if taken := [p for p, c in made if c.port_id is not None]:
        names |= await group_names(tx, taken)
    return tuple(
        _nic(port, card.network, names, tag=card.tag, created=card.port_id is None, state=state, floating={}) for port, card in made
    )


async def _make(tx: Transaction, ctx: RequestContext, card: Card, groups: dict[str, str] | None, **fields: str) -> Port:
    """Raises: Invalid, Conflict, Forbidden, OverQuota."""
    fixed = [{"ip_address": card.fixed_ip}] if card.fixed_ip else None
    secured = card.network.port_security_enabled
    try:
        return await ports.create_in(
            tx, ctx, network_id=card.network.id, fixed_ips=fixed, security_groups=(groups and list(groups)) if secured else (), **fields  # type: ignore[arg-type]
        )
    except NotFound as missing:
        raise Invalid(missing.message) from None
    except Conflict as taken:
        if taken.type == "IpAddressAlreadyAllocated":
            raise Invalid(f"Fixed IP address {card.fixed_ip} is already in use on instance.") from None
        raise


async def release_in(tx: Transaction, ctx: RequestContext, nics: Sequence[Nic], server_id: str) -> None:
    """Delete the ports that were made for the server, let go of the others. Those that are gone or someone else's are left alone."""
    for nic in nics:
        port = await ports.find(tx, nic.port_id)
        if port is None or port.device_id != server_id:
            continue
        if nic.created:
            await ports.delete_in(tx, ctx, nic.port_id)
        else:
            await ports.unbind_in(tx, ctx, nic.port_id)


async def move_in(tx: Transaction, ctx: RequestContext, server: Server, *, host: str, zone: str) -> tuple[Nic, ...]:
    """The server's ports are bound to another host, or with "" to none; they stay the server's. The cards as they are then."""
    system = ctx.cloud.system_context(ctx.request_id)
    for nic in server.nics:
        port = await ports.find(tx, nic.port_id)
        if port is not None and port.device_id == server.id and port.host_id != host:
            await ports.bind_in(tx, system, port.id, device_id=server.id, device_owner=OWNER + zone, host_id=host)
    return await fresh_nics(tx, server.id, server.nics)


async def expect_in(tx: Transaction, server: Server, host: str, *, comes: bool) -> None:
    """Have another host make ready for the server's cards, which stay where they are until it comes; or tell it that it does not come."""
    for nic in server.nics:
        port = await ports.find(tx, nic.port_id)
        if port is not None and port.device_id == server.id:
            await (bindings.expect_in if comes else bindings.expect_no_more_in)(tx, nic.port_id, host)


async def group_names(db: Reader, of: Sequence[Port]) -> dict[str, str]:
    """Names of the ports' security groups by id."""
    ids = {g for p in of for g in p.security_groups}
    return await security_groups.names_of(db, sorted(ids)) if ids else {}


async def fresh_nics(db: Reader, server_id: str, nics: Sequence[Nic]) -> tuple[Nic, ...]:
    """The same cards as their ports are now. A card whose port was deleted has no addresses; its state is `detaching`."""
    return (await fresh_nics_of(db, {server_id: nics}))[server_id]


async def fresh_nics_of(db: Reader, cards: dict[str, Sequence[Nic]]) -> dict[str, tuple[Nic, ...]]:
    """The same of several servers at once, by their ids."""
    present = {(p.device_id, p.id): p for p in await ports.of_devices(db, cards)}
    floating: dict[tuple[str, str], list[str]] = {}
    for ip in await floating_ips.of_ports(db, sorted(id for _, id in present)):
        floating.setdefault((ip.port_id or "", ip.fixed_ip_address or ""), []).append(ip.floating_ip_address)
    names = await group_names(db, list(present.values()))
    at = {n.id: n for n in await networks.some(db, [p.network_id for p in present.values()])}

    def fresh(server_id: str, nic: Nic) -> Nic:
        port = present.get((server_id, nic.port_id))
        network = at.get(port.network_id) if port else None
        if port is None or network is None:
            return _without_port(nic)
        return _nic(port, network, names, tag=nic.tag, created=nic.created, state=nic.state, floating=floating)

    return {server_id: tuple(fresh(server_id, nic) for nic in nics) for server_id, nics in cards.items()}


def _without_port(nic: Nic) -> Nic:
    return Nic(nic.port_id, nic.network_id, nic.label, nic.mac, nic.mtu, (), (), nic.tag, nic.created, False, "detaching")


def _nic(port: Port, at: Network, names: dict[str, str], *, tag: str | None, created: bool, state: str,
         floating: dict[tuple[str, str], list[str]]) -> Nic:  # fmt: skip
    addresses = tuple(
        Address(ip.ip_address, ip.subnet_id, 6 if ":" in ip.ip_address else 4, tuple(floating.get((port.id, ip.ip_address), ())))
        for ip in port.fixed_ips
    )
    groups = tuple(names[g] for g in port.security_groups if g in names)
    return Nic(
        port.id, at.id, at.name, port.mac_address, at.mtu, addresses, groups, tag, created, port.status == "ACTIVE", state
    )


async def regroup_in(tx: Transaction, ctx: RequestContext, server: Server, name: str, *, present: bool) -> bool:
    """Put every port of a server into a security group, or take it out; whether anything changed. Raises: NotFound, Conflict."""
    try:
        ((group, _),) = await security_groups.named(tx, server.project_id, [name])
    except NotFound:
        raise NotFound(f"Security group {name[:64]} not found for project {server.project_id}.") from None
    changed = False
    for port in await ports.of_device(tx, server.id, project_id=server.project_id):
        if not port.port_security_enabled:
            continue
        held = [g for g in port.security_groups if g != group]
        wanted = [*held, group] if present else held
        if set(wanted) != set(port.security_groups):
            await ports.update_in(tx, ctx, port.id, set_=frozenset(), security_groups=wanted)
            changed = True
    if not changed and not present:
        raise NotFound(f"Security group {name} not associated with the instance {server.id}")
    return changed


async def groups_of(db: Reader, server: Server) -> list[dict[str, object]]:
    """Security groups of a server's ports, as Nova's os-security-groups shows them."""
    names = await group_names(db, await ports.of_device(db, server.id, project_id=server.project_id))
    return [
        {"id": id, "name": name, "description": "", "tenant_id": server.project_id, "rules": []} for id, name in sorted(names.items())
    ]
