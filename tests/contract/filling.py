"""What is put into requests: ids of things that there are, values that mean something, and values that are odd."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from tests.contract.world import Ids

ODD = (
    None, "", "a", " ", "é😀", "x" * 300, "0", "-1", "1e400", 0, -1, 1.5, 1 << 31, 1 << 62, True, False, [], {}, [None], [[]], {"a": None}, [{}], "::1",
    "10.0.0.1", "default", "00000000-0000-0000-0000-000000000000",
)  # fmt: skip
PLAUSIBLE = {
    "cidr": ["10.9.1.0/24", "2001:db8::/64"], "destination": ["10.0.0.0/8"], "nexthop": ["10.9.0.5"], "addresses": ["192.0.2.0/24"],
    "prefixes": ["10.65.0.0/16"], "ip_address": ["10.9.0.77", "203.0.113.9"], "start": ["10.9.0.20"], "end": ["10.9.0.30"],
    "fixed_ip_address": ["10.9.0.77"], "floating_ip_address": ["203.0.113.9"], "gateway_ip": ["10.9.0.1"], "internal_ip_address": ["10.9.0.2"],
    "mac_address": ["fa:16:3e:00:00:01"], "remote_ip_prefix": ["10.0.0.0/8", "::/0"], "protocol": ["tcp", "udp", "icmp", "vnc"],
    "object_type": ["network", "security_group", "qos_policy"], "action": ["access_as_shared", "access_as_external"], "target_tenant": ["*"],
    "dns_domain": ["example.org."], "external_port_range": ["1000:1010"], "internal_port_range": ["1000:1010"], "host": ["sim-1"],
    "binary": ["nova-compute", "cinder-volume"], "availability_zone": ["nova"], "disk_format": ["raw"], "container_format": ["bare"],
    "status": ["available", "error"], "interface": ["public"], "url": ["http://example.org/"], "resource_class": ["VCPU", "CUSTOM_FUZZ"],
    "traits": ["HW_CPU_X86_AVX"], "expires_at": ["2030-01-01T00:00:00"],
    **dict.fromkeys(("metadata", "extra_specs", "group_specs"), [{"fuzz": "2"}, {}]), "size": [1, 2], "new_size": [2], "networks": ["auto", "none"],
    **dict.fromkeys(("is_public", "multiattach", "force", "protected", "no_snapshots", "bootable", "readonly"), [True, False, "true"]),
    "os-volume-type-access:is_public": [True, False], "delete-volumes": [True, False],
}  # fmt: skip
"""Values that mean something, for properties where any other text is refused at once."""


def changed(body: Any, chance: random.Random) -> Any:
    """The same with one thing in it odd, absent, twice, or nothing at all changed."""
    found = copy.deepcopy(body)
    places = list(_places(found))
    if not places or chance.random() < 0.15:
        return found
    inside, key = chance.choice(places)
    match chance.randrange(5):
        case 0 if isinstance(inside, dict):
            del inside[key]
        case 1:
            inside[key] = [inside[key], inside[key]]
        case _:
            inside[key] = copy.deepcopy(chance.choice(ODD))
    return found


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a value inside another."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


class Filling:
    """Puts ids of things that there are where a generated request has any text, mostly."""

    LIKELY = 0.85
    DROPPED = (0.0, 0.0, 0.5, 0.8)  # of the properties of a body: with all that may be given at once, hardly any is taken

    def __init__(self, ids: Ids, chance: random.Random):
        self._ids, self._chance = ids, chance

    def case(self, case: Any, *, body: bool) -> None:
        safe = case.method != "GET"
        if case.path_parameters and self._likely():
            known = self._ids.values(case.operation.path, safe=safe)  # a tag may be any text, also what clients take for a step upwards
            case.path_parameters.update({name: quote(value, safe="") for name, value in known.items() if value.strip(".")})
        for name in case.query or {}:
            if (known := self._query(name, case.operation.path)) and self._likely():
                case.query[name] = self._chance.choice(known)
        if body and isinstance(case.body, (dict, list)):
            self._dropped = self._chance.choice(self.DROPPED)
            case.body = self._body(case.body)

    def _likely(self) -> bool:
        return self._chance.random() < self.LIKELY

    def _query(self, name: str, path: str) -> list[str]:
        known = {"limit": ["1", "2"], "sort_dir": ["asc", "desc"], "sort_key": ["id", "name", "created_at"], "all_tenants": ["1"]}
        if name in ("marker", "id", "uuid"):
            return self._ids.of("", path)
        return known.get(name, self._ids.some(name, safe=False) if name.endswith("_id") else [])

    def _body(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._body(inner) for inner in value]
        if not isinstance(value, dict):
            return value
        kept = [key for key in value if len(value) == 1 or self._chance.random() >= self._dropped]
        return {key: self._property(key, value[key]) for key in kept}

    def _property(self, key: str, value: Any) -> Any:
        if key in PLAUSIBLE and self._likely() and not isinstance(value, list):
            return copy.deepcopy(self._chance.choice(PLAUSIBLE[key]))
        if isinstance(value, (dict, list)):
            return [self._property(key, inner) for inner in value] if isinstance(value, list) else self._body(value)
        if isinstance(value, str) and key.endswith(("_id", "Ref", "Id", "uuid")) and (real := self._ids.some(key, safe=True)) and self._likely():
            return self._chance.choice(real)
        return value
