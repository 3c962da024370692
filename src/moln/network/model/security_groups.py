"""Security groups and what a rule may say (network v2.0 api-ref, "Security groups")."""

from __future__ import annotations

import ipaddress
from typing import Literal

from msgspec import Struct, structs

from moln.kernel.errors import Invalid

Direction = Literal["ingress", "egress"]
EtherType = Literal["IPv4", "IPv6"]

PROTOCOLS = {                                      # names Neutron takes, with IANA's numbers
    "ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "hopopt": 0, "icmp": 1, "icmpv6": 58, "igmp": 2, "ip": 0, "ipip": 4,
    "ipv6-encap": 41, "ipv6-frag": 44, "ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43,
    "ospf": 89, "pgm": 113, "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112,
}  # fmt: skip
ANY = (None, "any")
WITH_PORTS = {6: "tcp", 17: "udp", 33: "dccp", 132: "sctp", 136: "udplite"}
IPV6_ONLY = {
    "ipv6-encap",
    "ipv6-frag",
    "ipv6-icmp",
    "icmpv6",
    "ipv6-nonxt",
    "ipv6-opts",
    "ipv6-route",
    "41",
    "44",
    "58",
    "59",
    "60",
    "43",
}
ICMP, ICMPV6 = 1, 58
PARENT = "PARENT"  # remote_group_id of a default rule: the group that gets the rule


class SecurityGroupRule(Struct, frozen=True, kw_only=True):
    """Lets matching connections through; what no rule lets through is dropped.

    protocol: None for any, else a name of PROTOCOLS or a number as text. port_range_min/max: ports, or ICMP type and code.
    remote_ip_prefix: as the user wrote it; normalized_cidr() has no host bits.
    """

    id: str
    security_group_id: str
    project_id: str
    direction: Direction
    ethertype: EtherType = "IPv4"
    protocol: str | None = None
    port_range_min: int | None = None
    port_range_max: int | None = None
    remote_ip_prefix: str | None = None
    remote_group_id: str | None = None
    remote_address_group_id: str | None = None
    description: str = ""
    created_at: int = 0
    updated_at: int = 0
    revision_number: int = 0

    @property
    def normalized_cidr(self) -> str | None:
        """The remote prefix without host bits, as the engine takes it."""
        return None if self.remote_ip_prefix is None else str(ipaddress.ip_network(self.remote_ip_prefix, strict=False))

    def sameness(self) -> tuple[object, ...]:
        """Equal for two rules that mean the same (a second one is refused)."""
        return (
            self.direction, self.ethertype, number(self.protocol), self.port_range_min, self.port_range_max,
            self.remote_group_id, self.normalized_cidr, self.remote_address_group_id,
        )  # fmt: skip


class SecurityGroup(Struct, frozen=True, kw_only=True):
    """A set of rules that ports wear. stateful: replies to what was let through pass without a rule."""

    id: str
    project_id: str
    name: str = ""
    description: str = ""
    stateful: bool = True
    is_default: bool = False
    shared_with: tuple[str, ...] = ()
    created_at: int = 0
    updated_at: int = 0
    revision_number: int = 1


class DefaultRule(Struct, frozen=True, kw_only=True):
    """What new groups begin with. remote_group_id: PARENT is the new group itself."""

    id: str
    project_id: str = ""
    direction: Direction
    ethertype: EtherType = "IPv4"
    protocol: str | None = None
    port_range_min: int | None = None
    port_range_max: int | None = None
    remote_ip_prefix: str | None = None
    remote_group_id: str | None = None
    remote_address_group_id: str | None = None
    used_in_default_sg: bool = False
    used_in_non_default_sg: bool = True
    description: str = ""
    created_at: int = 0
    updated_at: int = 0
    revision_number: int = 0

    def within(self, group_id: str, rule_id: str, project_id: str, now_us: int) -> SecurityGroupRule:
        """The rule that a group gets from it."""
        return SecurityGroupRule(
            id=rule_id, security_group_id=group_id, project_id=project_id, direction=self.direction, ethertype=self.ethertype,
            protocol=self.protocol, port_range_min=self.port_range_min, port_range_max=self.port_range_max,
            remote_ip_prefix=self.remote_ip_prefix, remote_group_id=group_id if self.remote_group_id == PARENT else self.remote_group_id,
            remote_address_group_id=self.remote_address_group_id, description=self.description, created_at=now_us, updated_at=now_us,
        )  # fmt: skip

    def sameness(self) -> tuple[object, ...]:
        """Equal for two that mean the same for the same groups."""
        return (*self.within("", "", "", 0).sameness(), self.remote_group_id, self.used_in_default_sg, self.used_in_non_default_sg)

    def doubles(self, other: DefaultRule) -> bool:
        """Whether some group would begin with both, though they mean the same."""
        both = self.used_in_default_sg and other.used_in_default_sg or self.used_in_non_default_sg and other.used_in_non_default_sg
        return both and self.sameness()[:-2] == other.sameness()[:-2]


class Statefulness(Struct, frozen=True, kw_only=True):
    """Whether new groups of a project (of all that say nothing else: "") are stateful."""

    id: str
    project_id: str
    stateful: bool = True
    created_at: int = 0
    updated_at: int = 0
    revision_number: int = 1


def parse_protocol(value: object) -> str | None:
    """A protocol as Neutron keeps it: None, a lower-case name, or a number as text. Raises: Invalid."""
    if value is None or value == "any":
        return None
    if isinstance(value, int) and not isinstance(value, bool) or isinstance(value, str) and value.isdecimal() and value.isascii():
        if 0 <= int(value) <= 255:
            return str(int(value))
    elif isinstance(value, str) and value.lower() in PROTOCOLS:
        return value.lower()
    raise Invalid(
        f"Security group rule protocol {value} not supported. Only protocol values {[*ANY, *PROTOCOLS]} "
        "and integer representations [0 to 255] are supported.",
        type="SecurityGroupRuleInvalidProtocol",
        field="protocol",
    )


def parse_ethertype(value: object) -> EtherType:
    """Raises: Invalid. Case does not matter."""
    if isinstance(value, str):
        if value.lower() == "ipv4":
            return "IPv4"
        if value.lower() == "ipv6":
            return "IPv6"
    raise Invalid(
        f"Security group rule for ethertype '{value}' not supported. Allowed values are ['IPv4', 'IPv6'].",
        type="SecurityGroupRuleInvalidEtherType",
        field="ethertype",
    )


def parse_prefix(value: object) -> str | None:
    """A CIDR or address as given, an address with its full length. Raises: Invalid."""
    if value is None or value == "":
        return None
    try:
        if not isinstance(value, str) or "%" in value:
            raise ValueError(value)
        address, _, length = value.partition("/")
        if length and not (length.isdecimal() and length.isascii()):
            raise ValueError(value)
        interface = ipaddress.ip_interface(value)
    except ValueError:
        raise Invalid(f"Invalid CIDR {value} given as IP prefix.", type="InvalidCIDR", field="remote_ip_prefix") from None
    return str(interface)


def parse_port(value: object, field: str) -> int | None:
    """A port number, ICMP type or code: 0–65535, as a number or its digits. Raises: Invalid."""
    if value is None:
        return None
    if not isinstance(value, bool) and (isinstance(value, int) or isinstance(value, str) and value.isascii() and value.isdecimal()):
        if 0 <= int(value) <= 65535:
            return int(value)
    raise Invalid(f"Invalid value for port {value}", type="SecurityGroupInvalidPortValue", field=field)


def number(protocol: str | None) -> int | None:
    """The protocol's number, None for any."""
    return None if protocol is None else PROTOCOLS.get(protocol) if protocol in PROTOCOLS else int(protocol)


def canonical(rule: SecurityGroupRule) -> SecurityGroupRule:
    """The rule as it is kept, checked as a whole (Neutron's _validate_base_security_group_rule_attributes). Raises: Invalid.

    The engine is given canonical rules only, so that no rule can break another's port (SEC-30).
    """
    if rule.ethertype == "IPv6":
        if rule.protocol in ("icmp", "icmpv6"):
            rule = structs.replace(rule, protocol="ipv6-icmp")
        elif rule.protocol == str(ICMP):
            rule = structs.replace(rule, protocol=str(ICMPV6))
    proto = number(rule.protocol)
    if (rule.port_range_min, rule.port_range_max) == (1, 65535) and proto in WITH_PORTS:
        rule = structs.replace(rule, port_range_min=None, port_range_max=None)
    _check_ports(rule, proto)
    if sum(r is not None for r in (rule.remote_ip_prefix, rule.remote_group_id, rule.remote_address_group_id)) > 1:
        raise Invalid(
            "Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.",
            type="SecurityGroupMultipleRemoteEntites",
        )
    if rule.remote_ip_prefix is not None:
        version = ipaddress.ip_interface(rule.remote_ip_prefix).version
        if rule.ethertype != f"IPv{version}":
            raise Invalid(
                f"Conflicting value ethertype {rule.ethertype} for CIDR {rule.remote_ip_prefix}",
                type="SecurityGroupRuleParameterConflict",
            )
    if rule.ethertype == "IPv4" and rule.protocol in IPV6_ONLY:
        raise Invalid(
            f"Invalid ethertype {rule.ethertype} for protocol {rule.protocol}.",
            type="SecurityGroupEthertypeConflictWithProtocol",
        )
    return rule


def _check_ports(rule: SecurityGroupRule, proto: int | None) -> None:
    low, high = rule.port_range_min, rule.port_range_max
    if low is None and high is None:
        return
    if proto is None:
        raise Invalid("Must also specify protocol if port range is given.", type="SecurityGroupProtocolRequiredWithPorts")
    if proto in WITH_PORTS:
        if low == 0 or high == 0:
            raise Invalid("Invalid value for port 0", type="SecurityGroupInvalidPortValue")
        if low is None or high is None or low > high:
            raise Invalid("For TCP/UDP protocols, port_range_min must be <= port_range_max", type="SecurityGroupInvalidPortRange")
    elif proto in (ICMP, ICMPV6):
        for attribute, meaning, value in (("port_range_min", "type", low), ("port_range_max", "code", high)):
            if value is not None and value > 255:
                raise Invalid(
                    f"Invalid value for ICMP {meaning} ({attribute}) {value}. It must be 0 to 255.",
                    type="SecurityGroupInvalidIcmpValue",
                )
        if low is None:
            raise Invalid(
                f"ICMP code (port-range-max) {high} is provided but ICMP type (port-range-min) is missing.",
                type="SecurityGroupMissingIcmpType",
            )
    else:
        names = ", ".join(name.upper() for name in WITH_PORTS.values())
        raise Invalid(
            f"Ports cannot be specified for protocol {proto}. Ports are only supported for {names}.",
            type="SecurityGroupInvalidProtocolForPort",
        )
