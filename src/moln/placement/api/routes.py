"""Placement as a service, and what its answers share."""

from __future__ import annotations

import re
import uuid
from email.utils import formatdate
from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Params, Reply, Routes, Service
from moln.placement.api.faults import fault

SERVICE = Service("placement", "/placement", fault=fault, header="placement", min_version=(1, 0), max_version=(1, 39))
routes = Routes(SERVICE)
BAD_VALUE, MISSING, DUPLICATE = "placement.query.bad_value", "placement.query.missing_value", "placement.query.duplicate_key"


def answer(ctx: RequestContext, body: Any = None, *, status: int | None = None, location: str | None = None,
           modified_us: int | None = None) -> Reply:  # fmt: skip
    """An answer with the headers that every one has since 1.15. modified_us: None for what is computed now."""
    headers = {}
    if ctx.version >= (1, 15):
        headers = {"cache-control": "no-cache", "last-modified": formatdate((modified_us or ctx.now_us) // 1_000_000, usegmt=True)}
    if location:
        headers["location"] = ctx.settings.public_url + location
    return Reply(body, status, headers)


def as_uuid(text: str, what: str) -> str:
    """A UUID in its usual form. what: the field. Raises: Invalid."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise Invalid(f"Invalid input for field/attribute {what}: {text[:64]!r} is not a 'uuid'", field=what) from None


def query_uuid(query: Params, name: str) -> str | None:
    """Raises: Invalid."""
    if name not in query:
        return None
    try:
        return as_uuid(query[name][-1].strip(), name)
    except Invalid as bad:
        raise Invalid(f"Invalid query string parameters: {bad.message}", field=name) from None


def check_query(ctx: RequestContext, query: Params, known: dict[str, tuple[int, int]]) -> None:
    """Raises: Invalid, for parameters unknown to the version. known: the version that brought each, as a whole-name pattern."""
    for name in query:
        since = next((v for pattern, v in known.items() if re.fullmatch(pattern, name)), None)
        if since is None or ctx.version < since:
            raise Invalid(f"Invalid query string parameters: Additional properties are not allowed ({name[:64]!r} was unexpected)")


def resources(text: str) -> dict[str, int]:
    """`VCPU:2,MEMORY_MB:1024`. Raises: Invalid."""
    form = "Badly formed resources parameter. Expected resources query string parameter in form: ?resources=VCPU:2,MEMORY_MB:1024. Got: "
    if not text.strip():
        raise Invalid(form + "empty string.", field="resources")
    found = {}
    for part in text.split(","):
        name, colon, amount = part.partition(":")
        if not colon or ":" in amount:
            raise Invalid(f"{form}{part[:64]}.", field="resources")
        if not re.fullmatch(r"-?[0-9]{1,15}", amount):
            raise Invalid(f"Requested resource {name[:64]} expected positive integer amount. Got: {amount[:64]}.", field="resources")
        if int(amount) < 1:
            raise Invalid(f"Requested resource {name[:64]} requires amount >= 1. Got: {amount}.", field="resources")
        found[name] = int(amount)
    return found


def traits(ctx: RequestContext, values: list[str], *, any_of: bool = True) -> tuple[tuple[frozenset[str], ...], frozenset[str]]:
    """`required=A,!B` and `required=in:A,B`: (sets of which one each is needed, forbidden ones). Raises: Invalid."""
    may_forbid = ctx.version >= (1, 22)
    may_choose = any_of and ctx.version >= (1, 39)
    needed: list[frozenset[str]] = []
    forbidden: set[str] = set()
    what, choice = "Invalid query string parameters: ", "'in:HW_CPU_X86_VMX,CUSTOM_MAGIC'"
    for value in values if ctx.version >= (1, 39) else values[-1:]:
        names = [n.strip() for n in value.removeprefix("in:").split(",")]
        form = "HW_CPU_X86_VMX,!CUSTOM_MAGIC" if may_forbid else "HW_CPU_X86_VMX,CUSTOM_MAGIC"
        if any(not n.lstrip("!") for n in names):
            raise Invalid(f"{what}Expected 'required' parameter value of the form: {form}. Got an empty trait in: {value[:200]}")
        if value.startswith("in:"):
            if not may_choose:
                raise Invalid(f"{what}The format {choice} only supported since microversion 1.39. Got: {value[:200]}")
            if any(n.startswith("!") for n in names):
                raise Invalid(f"{what}The format {choice} does not support forbidden traits. Got: {value[:200]}")
            needed.append(frozenset(names))
            continue
        if not may_forbid and any(n.startswith("!") for n in names):
            raise Invalid(f"{what}Expected 'required' parameter value of the form: {form}. Got: {value[:200]}")
        needed += [frozenset({n}) for n in names if not n.startswith("!")]
        forbidden |= {n.lstrip("!") for n in names if n.startswith("!")}
    return tuple(needed), frozenset(forbidden)


def member_of(ctx: RequestContext, values: list[str]) -> tuple[tuple[frozenset[str], ...], frozenset[str]]:
    """`member_of=in:A,B`, `!A`, `!in:A,B`: (sets of which one each is needed, forbidden ones). Raises: Invalid."""
    if len(values) > 1 and ctx.version < (1, 24):
        raise Invalid("Multiple member_of parameters are not supported", type=DUPLICATE)
    needed: list[frozenset[str]] = []
    forbidden: set[str] = set()
    for value in values:
        negated, rest = value.startswith("!"), value.removeprefix("!")
        if "," in rest and not rest.startswith("in:"):
            raise Invalid("Multiple values for 'member_of' must be prefixed with the 'in:' or '!in:' keyword using the valid "
                          f"microversion. Got: {value[:200]}")  # fmt: skip
        if negated and ctx.version < (1, 32):
            raise Invalid("Forbidden member_of parameters are not supported in the specified microversion")
        ids = set()
        for text in rest.removeprefix("in:").split(","):
            try:
                ids.add(str(uuid.UUID(text)))
            except ValueError:
                raise Invalid("Invalid query string parameters: Expected 'member_of' parameter to contain valid UUID(s). "
                              f"Got: {text[:64]}") from None  # fmt: skip
        if negated:
            forbidden |= ids
        else:
            needed.append(frozenset(ids))
    return tuple(needed), frozenset(forbidden)
