"""Resource classes and traits: the standard ones (os-resource-classes 1.1, os-traits 3.9) and the form of custom ones."""

from __future__ import annotations

import re
from importlib import resources


def _read(name: str) -> tuple[str, ...]:
    return tuple((resources.files("moln.placement.model") / name).read_text("utf-8").split())


STANDARD_CLASSES: tuple[str, ...] = _read("standard_classes.tsv")
STANDARD_TRAITS: frozenset[str] = frozenset(_read("standard_traits.tsv"))
VCPU, MEMORY_MB, DISK_GB = "VCPU", "MEMORY_MB", "DISK_GB"
SHARING = "MISC_SHARES_VIA_AGGREGATE"
CUSTOM = r"^CUSTOM_[A-Z0-9_]+$"
NAME = r"^[A-Z0-9_]+$"
NAME_LENGTH = 255
_custom = re.compile(CUSTOM)
_not_allowed = re.compile(r"[^A-Z0-9_]")


def is_custom(name: str) -> bool:
    """Whether a class or trait may be made under this name."""
    return len(name) <= NAME_LENGTH and _custom.match(name) is not None


def custom(text: str) -> str:
    """Any text as a custom name: what is not allowed in one becomes `_`."""
    return ("CUSTOM_" + _not_allowed.sub("_", text.upper()))[:NAME_LENGTH]
