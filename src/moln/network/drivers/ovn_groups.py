"""Security groups as port groups and ACLs (ovn-nb(5), "ACL"). Pure.

OVN keeps an address set for each port group by itself: `$NAME_ip4` and `$NAME_ip6`, so that a rule for a remote group is one match.
"""

from __future__ import annotations

from moln.network.drivers.lookup import Lookup
from moln.network.drivers.ovn_switches import DROP
from moln.network.drivers.rows import Ref, Row, Value
from moln.network.model.address_groups import AddressGroup
from moln.network.model.security_groups import ICMP, ICMPV6, SecurityGroup, SecurityGroupRule, number

ALLOW, REFUSE = 1002, 1001  # Neutron's priorities
DROP_NAME = "moln_pg_drop"
METER = "acl_log_meter"  # Neutron's name for it
TRANSPORTS = {6: "tcp", 17: "udp", 132: "sctp"}  # those whose ports OVN can match


def group_name(group_id: str) -> str:
    """The port group's name; OVN forbids dashes in it."""
    return "pg_" + group_id.replace("-", "_")


def address_set_name(group_id: str) -> str:
    """An address group's address sets, without their IP version."""
    return "ag_" + group_id.replace("-", "_")


def address_rows(group: AddressGroup) -> tuple[Row, ...]:
    """An address set for each IP version."""
    name = address_set_name(group.id)
    return tuple(
        Row("Address_Set", f"addresses:{group.id}/ip{v}", {"name": f"{name}_ip{v}", "addresses": group.of_version(v)}) for v in (4, 6)
    )


def match(rule: SecurityGroupRule) -> str:
    """What packets a rule is about, in OVN's expression language."""
    ingress = rule.direction == "ingress"
    ip, side = ("ip4" if rule.ethertype == "IPv4" else "ip6"), ("src" if ingress else "dst")
    parts = [f"{'outport' if ingress else 'inport'} == @{group_name(rule.security_group_id)}", ip]
    if rule.normalized_cidr is not None:
        parts.append(f"{ip}.{side} == {rule.normalized_cidr}")
    if rule.remote_group_id is not None:
        parts.append(f"{ip}.{side} == ${group_name(rule.remote_group_id)}_{ip}")
    if rule.remote_address_group_id is not None:
        parts.append(f"{ip}.{side} == ${address_set_name(rule.remote_address_group_id)}_{ip}")
    return " && ".join(parts + _protocol(rule, ip))


def _protocol(rule: SecurityGroupRule, ip: str) -> list[str]:
    proto, low, high = number(rule.protocol), rule.port_range_min, rule.port_range_max
    if proto is None:
        return []
    if proto in (ICMP, ICMPV6):
        name = "icmp4" if ip == "ip4" else "icmp6"
        types = [f"{name}.type == {low}"] if low is not None else []
        codes = [f"{name}.code == {high}"] if high is not None else []
        return [name, *types, *codes]
    name = TRANSPORTS.get(proto, "")
    if not name:
        return [f"ip.proto == {proto}"]
    if low is None or high is None:
        return [name]
    if low == high:
        return [name, f"{name}.dst == {low}"]
    return [name, f"{name}.dst >= {low}", f"{name}.dst <= {high}"]


def _logged(log_id: str | None) -> dict[str, Value]:
    """The columns of an ACL whose packets nodes log, or log no longer; so many a second at most (the meter)."""
    if log_id is None:
        return {"log": False, "name": (), "severity": (), "meter": ()}
    return {"log": True, "name": (f"neutron-{log_id}",), "severity": ("info",), "meter": (METER,)}


def _meter() -> tuple[Row, ...]:
    """What bounds the log of each ACL by itself (`fair`), so that one flood hides nothing of the others. Rates are Neutron's."""
    band = Row("Meter_Band", f"{DROP}/log-band", {"action": "drop", "rate": 100, "burst_size": 25})
    return band, Row("Meter", f"{DROP}/log-meter", {"name": METER, "unit": "pktps", "fair": (True,), "bands": (Ref(band.key),)})


def group_rows(look: Lookup, group: SecurityGroup) -> tuple[Row, ...]:
    """A port group with an ACL per rule. Rules of one meaning are refused before they get here."""
    key = f"group:{group.id}"
    rows = [Row("Port_Group", key, {"name": group_name(group.id), "external_ids": {"neutron:security_group_id": group.id}})]
    logged = _logged(look.log_of(group.id))
    for rule in look.rules.get(group.id, ()):
        columns: dict[str, Value] = {
            **logged,
            "direction": "to-lport" if rule.direction == "ingress" else "from-lport",
            "priority": ALLOW,
            "match": match(rule),
            "action": "allow-related" if group.stateful else "allow-stateless",
            "external_ids": {"neutron:security_group_rule_id": rule.id},
        }
        rows.append(Row("ACL", f"{key}/{rule.id}", columns, holder=(Ref(key), "acls")))
    return tuple(rows)


def drop_rows(look: Lookup) -> tuple[Row, ...]:
    """The group of all secured ports: IP that no rule allows is dropped. What meters logs goes with it."""
    rows = [Row("Port_Group", DROP, {"name": DROP_NAME})]
    for direction, side in (("to-lport", "outport"), ("from-lport", "inport")):
        columns: dict[str, Value] = {
            **_logged(look.log_of_drops),
            "direction": direction,
            "priority": REFUSE,
            "match": f"{side} == @{DROP_NAME} && ip",
            "action": "drop",
        }
        rows.append(Row("ACL", f"{DROP}/{direction}", columns, holder=(Ref(DROP), "acls")))
    return (*rows, *(_meter() if any(log.enabled for log in look.topology.logs) else ()))
