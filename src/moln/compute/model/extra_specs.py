"""Extra specs that are known, and what they may be (compute api, microversion 2.86; Nova's reference of extra specs).

Being known means that the value is checked, as Nova does; which are heeded is said in wishes.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from moln.kernel.errors import Invalid

_CPUS = r"\^?\d+((-\d+)?(,\^?\d+(-\d+)?)?)*"
_SWITCHES = {"1", "t", "true", "on", "y", "yes", "0", "f", "false", "off", "n", "no"}
Check = Callable[[str], str | None]  # what is wrong with a value; None: nothing


def _whole(least: int | None = None, most: int | None = None) -> Check:
    def check(value: str) -> str | None:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", value):
            return "it must be a whole number"
        if least is not None and int(value) < least or most is not None and int(value) > most:
            return f"it must be {least} or more" + (f", {most} at most" if most is not None else "")
        return None

    return check


def _one_of(*allowed: str) -> Check:
    return lambda value: None if value in allowed else f"it must be one of {', '.join(allowed)}"


def _like(pattern: str) -> Check:
    return lambda value: None if re.fullmatch(pattern, value) else f"it must match {pattern}"


def _switch(value: str) -> str | None:
    return None if value.lower() in _SWITCHES else "it must be a boolean"


def _anything(value: str) -> str | None:
    return None


_EXACT: dict[str, Check] = {
    **dict.fromkeys(
        ("hw:cpu_realtime", "hw:hide_hypervisor_id", "hw:locked_memory", "hw:boot_menu", "hw:vif_multiqueue_enabled", "hw:mem_encryption",
         "hw:pmu", "hw:virtio_packed_ring", "hw:ephemeral_encryption", "hw_rng:allowed", "hide_hypervisor_id"), _switch),
    **dict.fromkeys(("hw:cpu_realtime_mask", "hw:cpu_dedicated_mask"), _like(_CPUS)),
    **dict.fromkeys(
        ("hw:numa_nodes", "hw:cpu_sockets", "hw:cpu_cores", "hw:cpu_threads", "hw:cpu_max_sockets", "hw:cpu_max_cores",
         "hw:cpu_max_threads"), _whole(1)),
    **dict.fromkeys(
        ("hw:serial_port_count", "hw_rng:rate_bytes", "hw_rng:rate_period", "hw_video:ram_max_mb", "quota:cpu_shares", "quota:cpu_period"),
        _whole(0)),
    "quota:cpu_quota": _whole(),
    "hw:redirected_usb_ports": _whole(0, 15),
    "hw:cpu_policy": _one_of("dedicated", "shared", "mixed"),
    "hw:cpu_thread_policy": _one_of("prefer", "isolate", "require"),
    "hw:emulator_threads_policy": _one_of("isolate", "share"),
    "hw:mem_page_size": _like(r"(large|small|any|\d+([kKMGT]i?)?(b|bit|B)?)"),
    "hw:pci_numa_affinity_policy": _one_of("required", "preferred", "legacy", "socket"),
    "hw:mem_encryption_model": _one_of("amd-sev", "amd-sev-es", "amd-sev-snp"),
    "hw:pmem": _like(r"([a-zA-Z0-9_]+(,)?)+"),
    "hw:tpm_model": _one_of("tpm-tis", "tpm-crb"),
    "hw:tpm_version": _one_of("1.2", "2.0"),
    "hw:tpm_secret_security": _one_of("user", "host", "deployment"),
    "hw:watchdog_action": _one_of("none", "pause", "poweroff", "reset", "disabled"),
    "hw:viommu_model": _one_of("intel", "smmuv3", "virtio", "auto"),
    **dict.fromkeys(("hw:sound_model", "hw:usb_model", "hw:ephemeral_encryption_format", "accel:device_profile"), _anything),
    "os:secure_boot": _one_of("disabled", "required"),
    "group_policy": _one_of("isolate", "none"),
    "pci_passthrough:alias": _like(r"[^:]+:\d+(?:\s*,\s*[^:]+:\d+)*"),
}
_PATTERNS: tuple[tuple[str, Check], ...] = (
    (r"trait([a-zA-Z0-9_-]{1,64})?:[A-Z0-9_]+", _one_of("required", "forbidden")),
    (r"resources([a-zA-Z0-9_-]{1,64})?:[A-Z0-9_]+", _whole(0)),
    (r"hw:numa_cpus\.\d+", _like(_CPUS)),
    (r"hw:numa_mem\.\d+", _whole(1)),
    (r"quota:(vif_(inbound|outbound)_(average|burst|peak)|disk_(read|write|total)_(bytes|iops)_sec(_max)?(_length)?)", _whole(0)),
    (r"quota:(cpu|memory|disk_io)_shares_level", _one_of("custom", "high", "normal", "low")),
    (r"quota:(cpu|memory|disk_io|vif)_(limit|reservation|shares_share)", _whole(0)),
    (r"aggregate_instance_extra_specs:.+", _anything),
    (r"capabilities(:\w+)+", _anything),
)
_NAMESPACES = re.compile(r"hw|hw_rng|hw_video|os|quota|accel|pci_passthrough|capabilities|aggregate_instance_extra_specs|"
                         r"(trait|resources)([a-zA-Z0-9_-]{1,64})?")  # fmt: skip


def check(name: str, value: str) -> None:
    """Raises: Invalid, for a value that a known spec cannot have, or an unknown name in a known namespace."""
    found = _EXACT.get(name) or next((check for pattern, check in _PATTERNS if re.fullmatch(pattern, name)), None)
    if found is not None:
        wrong = found(value)
        if wrong is not None:
            raise Invalid(f"Validation failed; '{value[:64]}' is not of the correct form for extra spec '{name[:64]}': {wrong}.", field=name)
    elif ":" in name and _NAMESPACES.fullmatch(name.partition(":")[0]):
        raise Invalid(f"Validation failed; extra spec '{name[:64]}' does not appear to be a valid extra spec.", field=name)
