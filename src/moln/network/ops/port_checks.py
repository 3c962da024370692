"""What a port may be: owners nobody may claim, address pairs, and port security against what needs it."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import structs

from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Forbidden, Invalid
from moln.network.model.ports import MOST_ADDRESS_PAIRS, OWN_OWNERS, AddressPair, Port, is_network_owner
from moln.network.ops import security_groups
from moln.network.ops.common import conflict


def check_owner(ctx: RequestContext, owner: str) -> None:
    """Nobody poses as the network (SEC-29): tenants with no `network:` owner, administrators with none that the cloud makes itself.

    Neutron lets a network's owner do so; Moln does not. Raises: Forbidden, Invalid.
    """
    if not is_network_owner(owner):
        return
    if not ctx.is_admin and "service" not in ctx.roles:
        raise Forbidden("rule:create_port:device_owner is disallowed by policy", type="PolicyNotAuthorized")
    if owner in OWN_OWNERS:
        raise Invalid(f"Invalid input for device_owner. Reason: ports of {owner} are made by the cloud itself.", field="device_owner")


async def groups_for(
    tx: Transaction, ctx: RequestContext, port: Port, addressed: bool, groups: Iterable[str] | None
) -> tuple[str, ...]:
    """The groups a new port wears: those asked for, or its project's default one where a firewall applies. Raises: NotFound."""
    if groups is not None:
        return await security_groups.existing(tx, ctx, port.project_id, groups)
    if not port.secured or not port.project_id or not addressed or port.device_owner.startswith("network:"):
        return ()
    return (await security_groups.default_id_in(tx, ctx, port.project_id),)


def full_pairs(port: Port, pairs: Iterable[AddressPair]) -> tuple[AddressPair, ...]:
    """Each pair with its MAC filled in. Raises: Invalid for too many or two alike."""
    full = tuple(structs.replace(pair, mac_address=pair.mac_address or port.mac_address) for pair in pairs)
    if len(full) > MOST_ADDRESS_PAIRS:
        raise Invalid(f"The number of allowed address pair exceeds the maximum {MOST_ADDRESS_PAIRS}.", type="AddressPairExhausted")
    for pair in full:
        if full.count(pair) > 1:
            raise Invalid(
                "Request contains duplicate address pair: "
                f"mac_address {pair.mac_address} ip_address {pair.ip_address}.", type="DuplicateAddressPairInRequest"
            )  # fmt: skip
    return full


def check_security(port: Port) -> None:
    """Refuse to switch off port security under groups or address pairs. Raises: Conflict."""
    if port.port_security_enabled:
        return
    if port.security_groups:
        raise conflict(
            "PortSecurityPortHasSecurityGroup",
            "Port has security group associated. Cannot disable port security or IP address until security group is removed.",
        )
    if port.allowed_address_pairs:
        raise conflict(
            "AddressPairAndPortSecurityRequired", "Port Security must be enabled in order to have allowed address pairs on a port."
        )
