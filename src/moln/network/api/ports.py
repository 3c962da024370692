"""/v2.0/ports."""

from __future__ import annotations

import ipaddress
from typing import Any

from msgspec import UNSET

from moln.kernel.errors import Invalid
from moln.network.api import attributes as a
from moln.network.api import views
from moln.network.api.attributes import ADMIN_STATE, NAME, Attribute, Schema, bad_value
from moln.network.api.networks import TAGS, dns_domain
from moln.network.api.resources import Resource, publish
from moln.network.api.service import routes
from moln.network.model.dhcp_options import OtherVersion, rendered
from moln.network.model.ports import AddressPair, DhcpOption
from moln.network.ops import ports as port_ops
from moln.network.store import rows

VNIC_TYPE = a.one_of("normal")


MOST_DHCP_OPTIONS = 64


def parse_fixed_ips(value: Any, name: str) -> list[dict[str, Any]] | None:
    """`[{"subnet_id", "ip_address"}]`, either or both of each; null is as if not given."""
    if value is None:
        return None
    found = a.list_of(a.object_of({"subnet_id": a.uuid, "ip_address": a.address}))(value, name)
    given = [ip["ip_address"] for ip in found if "ip_address" in ip]
    if len(set(given)) != len(given):
        raise bad_value(name, f"Duplicate IP address '{next(ip for ip in given if given.count(ip) > 1)}'")
    return list(found)


def _pair_address(value: Any, name: str) -> str:
    try:
        if not isinstance(value, str) or "%" in value or "/" in value and not value.partition("/")[2].isdecimal():
            raise ValueError(value)
        network = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise bad_value(name, f"'{value}' is not a valid IP address or CIDR") from None
    if network.prefixlen == 0:
        raise bad_value(name, f"'{value}' allows every address: disable port security instead")
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def _pairs(value: Any, name: str) -> tuple[AddressPair, ...]:
    shape = a.object_of({"ip_address": _pair_address, "mac_address": a.mac})
    found = a.list_of(shape)(value, name)
    if any("ip_address" not in pair for pair in found):
        raise Invalid("AllowedAddressPair must contain ip_address", type="AddressPairMissingIP", field=name)
    return tuple(AddressPair(pair["ip_address"], pair.get("mac_address", "")) for pair in found)


def _option_text(value: Any, name: str) -> str:
    """An option's value: printable, so that it stays one value wherever it goes (SEC-32)."""
    text: str = a.text()(value, name)
    if any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise bad_value(name, "control characters are not allowed")
    return text


def _dhcp_options(value: Any, name: str) -> tuple[DhcpOption, ...]:
    shape = a.object_of(
        {"opt_name": _option_text, "opt_value": a.optional(_option_text), "ip_version": a.ip_version}, required=("opt_name", "opt_value")
    )
    found = a.list_of(shape, most=MOST_DHCP_OPTIONS)(value, name)
    options = tuple(DhcpOption(o["opt_name"], o["opt_value"], o.get("ip_version", 4)) for o in found if o["opt_value"] is not None)
    for option in options:
        try:
            rendered(option.opt_name, option.opt_value, option.ip_version)
        except OtherVersion:
            continue
        except ValueError:
            raise bad_value(name, f"'{option.opt_value[:80]}' is no value of option {option.opt_name[:80]}") from None
    return options


def _host_name(value: Any, name: str) -> str:
    """A DNS label or name without odd characters."""
    text: str = a.text_or_none(63)(value, name)
    if text and not all(label and label.isascii() and label.replace("-", "").isalnum() for label in text.rstrip(".").split(".")):
        raise bad_value(name, f"'{text}' not a valid PQDN or FQDN")
    return text


def parse_profile(value: Any, name: str) -> dict[str, Any]:
    """`binding:profile`: what a hypervisor and its network tell each other."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad_value(name, f"'{value}' is not a dictionary")
    return value


def _by_address(values: list[str]) -> list[tuple[str, str, Any]]:
    """`fixed_ips=ip_address=A`, `subnet_id=S`, `ip_address_substr=A`, repeated."""
    wanted: dict[str, list[str]] = {}
    for value in values:
        key, _, rest = value.partition("=")
        if key not in ("ip_address", "subnet_id", "subnet", "ip_address_substr") or not rest:
            raise Invalid(
                f"Invalid input for fixed_ips. Reason: '{value}' is not in the form ip_address=…, subnet_id=….", field="fixed_ips"
            )
        if key == "ip_address":
            rest = a.address(rest, "ip_address")
        wanted.setdefault("subnet_id" if key == "subnet" else key, []).append(rest)
    where: list[tuple[str, str, Any]] = []
    if "ip_address" in wanted:
        where.append(("has_address", "in", wanted["ip_address"]))
    if "subnet_id" in wanted:
        where.append(("has_subnet", "in", wanted["subnet_id"]))
    return where + [("like_address", "like", part) for part in wanted.get("ip_address_substr", [])]


def _macs(values: list[str]) -> list[tuple[str, str, Any]]:
    return [("mac_address", "in", [value.lower() for value in values])]


PORTS = Resource(
    Schema(
        "port",
        "ports",
        [
            NAME,
            ADMIN_STATE,
            TAGS,
            Attribute(name="network_id", field="network_id", post=True, required=True, parse=a.uuid, filter="network_id", sort=True),
            Attribute(
                name="mac_address", field="mac_address", post=True, put=True, default=None, parse=a.optional(a.mac), filter=_macs, sort=True
            ),
            Attribute(name="fixed_ips", field="fixed_ips", post=True, put=True, default=None, parse=parse_fixed_ips, filter=_by_address),
            Attribute(name="device_id", field="device_id", post=True, put=True, default="", parse=a.text_or_none(), filter="device_id", sort=True),
            Attribute(
                name="device_owner", field="device_owner", post=True, put=True, default="", parse=a.text_or_none(), filter="device_owner", sort=True
            ),
            Attribute(name="status", field="status", filter="status", sort=True),
            Attribute(
                name="security_groups", field="security_groups", post=True, put=True, default=None, parse=a.list_of(a.uuid, unique=True),
                filter=lambda values: [("in_group", "in", values)],
            ),
            Attribute(name="allowed_address_pairs", field="allowed_address_pairs", post=True, put=True, default=(), parse=_pairs),
            Attribute(
                name="port_security_enabled", field="port_security_enabled", post=True, put=True, default=None, parse=a.boolean,
                filter=a.truths("port_security_enabled"),
            ),
            Attribute(name="extra_dhcp_opts", field="extra_dhcp_opts", post=True, put=True, default=(), parse=_dhcp_options),
            Attribute(name="binding:host_id", field="host_id", post=True, put=True, default="", parse=a.text_or_none(), filter="host_id", sort=True),
            Attribute(name="binding:vnic_type", field="vnic_type", post=True, put=True, default="normal", parse=VNIC_TYPE, filter="vnic_type"),
            Attribute(name="binding:profile", field="profile", post=True, put=True, default=UNSET, parse=parse_profile),
            Attribute(name="binding:vif_type", filter="vif_type"),
            Attribute(name="binding:vif_details"),
            Attribute(name="dns_name", field="dns_name", post=True, put=True, default="", parse=_host_name, filter="dns_name"),
            Attribute(name="dns_domain", field="dns_domain", post=True, put=True, default="", parse=dns_domain),
            Attribute(name="dns_assignment"),
            a.QOS_POLICY,
            Attribute(name="qos_network_policy_id"),
            Attribute(name="ip_allocation", filter="ip_allocation"),
        ],
    ),
    "ports",
    rows.ports,
    views.ports,
    create=port_ops.create_in,
    update=port_ops.update_in,
    delete=port_ops.remove_in,
)  # fmt: skip

publish(routes, PORTS)
