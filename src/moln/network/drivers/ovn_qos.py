"""QoS policies as northbound rows (ovn-nb(5), "QoS"): a meter and a DSCP mark for each direction. Pure."""

from __future__ import annotations

from moln.network.drivers.lookup import Lookup
from moln.network.drivers.rows import Ref, Row, Value
from moln.network.model.ports import Port
from moln.network.model.qos import QosKind

OF_PORTS, OF_ADDRESSES = 2002, 2003  # Neutron's priorities


def _row(look: Lookup, policy_id: str, direction: str, key: str, network_id: str, match: str, priority: int) -> tuple[Row, ...]:
    meter: dict[str, int] = {}
    mark: dict[str, int] = {}
    for rule in look.topology.qos.get(policy_id, ()):
        if rule.direction != direction:
            continue
        if rule.kind == QosKind.DSCP_MARKING:
            mark = {"dscp": rule.dscp_mark}
        elif rule.max_kbps:  # a rate of 0 is no rate to OVN
            meter = {"rate": rule.max_kbps} | ({"burst": rule.max_burst_kbps} if rule.max_burst_kbps else {})
    if not meter and not mark:
        return ()
    columns: dict[str, Value] = {
        "direction": "from-lport" if direction == "egress" else "to-lport",
        "priority": priority,
        "match": match,
        "bandwidth": meter,
        "action": mark,
    }
    return (Row("QoS", f"{key}/qos-{direction}", columns, holder=(Ref(f"network:{network_id}"), "qos_rules")),)


def port_options(look: Lookup, port: Port) -> dict[str, str]:
    """What a port is promised of its node's link to a physical network: a queue of the card's. An overlay has no such queues."""
    network = look.topology.networks[port.network_id]
    policy_id = port.qos_policy_id or network.qos_policy_id
    if policy_id is None or port.trusted or network.physical_network is None:
        return {}
    least = [r.min_kbps for r in look.topology.qos.get(policy_id, ()) if r.kind == QosKind.MINIMUM_BANDWIDTH]
    return {"qos_min_rate": str(least[0] * 1000)} if least and least[0] else {}


def port_qos(look: Lookup, port: Port) -> tuple[Row, ...]:
    """What a port's own policy, else its network's, does to it. The cloud's own ports are left alone."""
    policy_id = port.qos_policy_id or look.topology.networks[port.network_id].qos_policy_id
    if policy_id is None or port.trusted:
        return ()
    out = _row(look, policy_id, "egress", f"port:{port.id}", port.network_id, f'inport == "{port.id}"', OF_PORTS)
    return out + _row(look, policy_id, "ingress", f"port:{port.id}", port.network_id, f'outport == "{port.id}"', OF_PORTS)


def gateway_qos(look: Lookup, policy_id: str | None, key: str, gateway: Port) -> tuple[Row, ...]:
    """The same for all that goes through a router's gateway and has no policy of its own."""
    if policy_id is None:
        return ()
    out = _row(look, policy_id, "egress", key, gateway.network_id, f'inport == "{gateway.id}"', OF_PORTS)
    return out + _row(look, policy_id, "ingress", key, gateway.network_id, f'outport == "{gateway.id}"', OF_PORTS)


def address_qos(look: Lookup, policy_id: str | None, key: str, gateway: Port, address: str, resident: str) -> tuple[Row, ...]:
    """The same for a floating address. resident: the port at whose node the address is translated."""
    if policy_id is None:
        return ()
    at = f'is_chassis_resident("{resident}")'
    out, back = f'inport == "{gateway.id}" && ip4.src == {address} && {at}', f'outport == "{gateway.id}" && ip4.dst == {address} && {at}'
    rows = _row(look, policy_id, "egress", key, gateway.network_id, out, OF_ADDRESSES)
    return rows + _row(look, policy_id, "ingress", key, gateway.network_id, back, OF_ADDRESSES)
