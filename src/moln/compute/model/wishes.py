"""From a flavor's extra specs and an image's properties to what a host must have (Nova's user guide, "Extra specs" and image properties)."""

from __future__ import annotations

import re

from moln.compute.model.scheduling import Wanted
from moln.placement.model.names import DISK_GB, MEMORY_MB, NAME, VCPU

ARCHITECTURES = {"amd64": "x86_64", "x64": "x86_64", "x86-64": "x86_64", "i386": "i686", "i486": "i686", "i586": "i686", "x86": "i686",
                 "arm64": "aarch64"}  # fmt: skip
HYPERVISORS = {"xenapi": "xen"}
_name = re.compile(NAME)


def wanted(*, vcpus: int, ram_mib: int, disk_gib: int, extra_specs: dict[str, str] | None = None,
           image_properties: dict[str, str] | None = None, availability_zone: str | None = None, host: str | None = None,
           exclude: frozenset[str] = frozenset(), cut_off: frozenset[str] = frozenset(), same_as: frozenset[str] = frozenset()) -> Wanted:  # fmt: skip
    """What a server needs of its host.

    Heeded: `resources:CLASS` (in place of the flavor's own amounts, too), `trait:NAME` (required, forbidden), of flavor and image, and the
    image's `hw_architecture` or `architecture`, and `img_hv_type` or `hypervisor_type`. What cannot be understood is left out, as in Nova.
    """
    specs, image = extra_specs or {}, image_properties or {}
    amounts = {VCPU: vcpus, MEMORY_MB: ram_mib, DISK_GB: disk_gib} | _amounts(specs)
    required, forbidden = _traits(specs)
    more_required, more_forbidden = _traits(image)
    arch = (image.get("hw_architecture") or image.get("architecture") or "").lower()
    hypervisor = (image.get("img_hv_type") or image.get("hypervisor_type") or "").lower()
    return Wanted(
        amounts.pop(VCPU), amounts.pop(MEMORY_MB), amounts.pop(DISK_GB), availability_zone=availability_zone, host=host,
        arch=ARCHITECTURES.get(arch, arch) or None, hypervisor=HYPERVISORS.get(hypervisor, hypervisor) or None,
        more={name: n for name, n in amounts.items() if n}, required=required | more_required, forbidden=forbidden | more_forbidden,
        exclude=exclude, cut_off=cut_off, same_as=same_as,
    )  # fmt: skip


def _amounts(specs: dict[str, str]) -> dict[str, int]:
    found = {}
    for key, value in specs.items():
        name = key.removeprefix("resources:")
        if name != key and _name.match(name) and re.fullmatch("[0-9]{1,15}", value):
            found[name] = int(value)
    return found


def _traits(specs: dict[str, str]) -> tuple[frozenset[str], frozenset[str]]:
    """(required, forbidden)."""
    found: dict[str, set[str]] = {"required": set(), "forbidden": set()}
    for key, value in specs.items():
        name = key.removeprefix("trait:")
        if name != key and _name.match(name) and value in found:
            found[value].add(name)
    return frozenset(found["required"]), frozenset(found["forbidden"])
