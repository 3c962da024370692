"""Extra DHCP options of a port: which of them the engine gives, and their values in its syntax.

OVN keeps options as text and pastes it into the actions of logical flows. So a value only ever leaves here as what its type is, an
address, a number or a quoted word: never as the text that a caller sent (SEC-32, CVE-2021-40085).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

Render = Callable[[str], str]  # a user's text to the engine's; raises ValueError


class OtherVersion(ValueError):
    """Addresses of the other IP version: an option that no guest is given. Neutron keeps such."""


_WORD = re.compile(r'[ !#-\[\]-~]{1,255}')  # printable ASCII without the quote and the backslash


def _address(version: int) -> Render:
    """One or several, with commas between them; in braces too, as OVN's own users write them."""

    def render(text: str) -> str:
        found = [str(ipaddress.ip_address(part.strip())) for part in _listed(text)]
        if any("%" in address for address in found):  # a zone id may say anything
            raise ValueError(text)
        if any(ipaddress.ip_address(address).version != version for address in found):
            raise OtherVersion(text)
        return found[0] if len(found) == 1 else "{" + ", ".join(found) + "}"

    return render


def _number(low: int, high: int) -> Render:
    def render(text: str) -> str:
        if not (text.isascii() and text.isdecimal() and len(text) < 11 and low <= int(text) <= high):
            raise ValueError(text)
        return str(int(text))

    return render


def _word(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise ValueError(text)
    return f'"{text}"'


def _routes(text: str) -> str:
    """Destination, next hop, destination, next hop… (RFC 3442)."""
    parts = [part.strip() for part in _listed(text)]
    if len(parts) % 2:
        raise ValueError(text)
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return "{" + ", ".join(f"{ipaddress.IPv4Network(to)},{ipaddress.IPv4Address(by)}" for to, by in pairs) + "}"


def _listed(text: str) -> list[str]:
    text = text.strip()
    return (text[1:-1] if text.startswith("{") and text.endswith("}") else text).split(",")


_V4, _V6, _SECONDS, _MTU = _address(4), _address(6), _number(0, (1 << 32) - 1), _number(68, 65535)
TYPES: dict[int, dict[str, Render]] = {            # by version and OVN's name (ovn-nb(5), "DHCP_Options")
    4: {
        "router": _V4, "netmask": _V4, "dns_server": _V4, "ntp_server": _V4, "tftp_server_address": _V4, "mtu": _MTU, "lease_time": _SECONDS,
        "classless_static_route": _routes, "tftp_server": _word, "bootfile_name": _word, "hostname": _word, "domain_name": _word,
        "wpad": _word, "path_prefix": _word, "domain_search_list": _word,
    },
    6: {"dns_server": _V6, "domain_search": _word},
}  # fmt: skip
NAMES: dict[int, dict[str, str]] = {               # dnsmasq's names, as Neutron's users write them, or numbers, to OVN's
    4: {
        "router": "router", "mtu": "mtu", "dns-server": "dns_server", "domain-name": "domain_name", "netmask": "netmask",
        "ntp-server": "ntp_server", "tftp-server": "tftp_server", "tftp-server-address": "tftp_server_address",
        "server-ip-address": "tftp_server_address", "bootfile-name": "bootfile_name", "hostname": "hostname", "wpad": "wpad",
        "classless-static-route": "classless_static_route", "path-prefix": "path_prefix", "lease-time": "lease_time",
        "domain-search": "domain_search_list", "1": "netmask", "3": "router", "6": "dns_server", "12": "hostname", "15": "domain_name",
        "26": "mtu", "42": "ntp_server", "51": "lease_time", "66": "tftp_server", "67": "bootfile_name", "119": "domain_search_list",
        "121": "classless_static_route", "150": "tftp_server_address", "210": "path_prefix", "252": "wpad",
    },
    6: {"dns-server": "dns_server", "domain-search": "domain_search", "24": "domain_search", "23": "dns_server"},
}  # fmt: skip


def rendered(name: str, value: str, version: int) -> tuple[str, str] | None:
    """OVN's name and text of an option; None for one that the engine does not know. Raises: ValueError, for a value that cannot be."""
    known = NAMES[version].get(name)
    return None if known is None else (known, TYPES[version][known](value))
