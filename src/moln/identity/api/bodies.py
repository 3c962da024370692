"""Bodies that may hold more than we know (Keystone keeps unknown attributes), and the values of queries."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct

from moln.kernel.clock import parse_iso
from moln.kernel.errors import Invalid
from moln.kernel.http import Params
from moln.kernel.http.bodies import explain

S = TypeVar("S", bound=Struct)
T = TypeVar("T")

Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\S")]
ShortName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"\S")]
Id = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9-]+$")]
MAX_EXTRA = 64 << 10  # bytes of unknown attributes, at most
_FALSE = frozenset({"0", "false", "no", "off", "f", "n"})


def convert(value: Any, shape: type[T], where: str = "") -> T:
    """Raises: Invalid, the field named."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        failure = explain(error)
        if where:
            failure.message += f" ({where})"
        raise failure from None


def take(body: dict[str, Any], root: str, shape: type[Struct], id_: str | None = None) -> dict[str, Any]:
    """The attributes given below `root`, by the model's names; those that `shape` lacks under "extra".

    id_: the id in the path, which an id in the body must repeat. Raises: Invalid.
    """
    given = inner(body, root)
    if id_ is not None:
        if not given:
            raise Invalid(f"{{}} does not have enough properties ({root})", field=root)
        if given.get("id", id_) != id_:
            raise Invalid(f"Cannot change {root} ID", field="id")
    taken = convert(given, shape, root)
    known = {field.encode_name: field.name for field in msgspec.structs.fields(shape)}
    values = {name: getattr(taken, name) for name in known.values() if getattr(taken, name) is not UNSET}
    extra = {key: value for key, value in given.items() if key not in known and key not in ("id", "links")}
    if extra:
        if len(msgspec.json.encode(extra)) > MAX_EXTRA:
            raise Invalid(f"The {root} holds more than {MAX_EXTRA} bytes of other attributes.", field=root)
        values["extra"] = extra
    return values


class RoleRef(Struct):
    """A role by its id or its name."""

    id: str | None = None
    name: str | None = None


def inner(body: dict[str, Any], root: str) -> dict[str, Any]:
    """What a body wraps. Raises: Invalid."""
    found = body.get(root)
    if not isinstance(found, dict):
        raise Invalid(f"{root!r} is a required property", field=root)
    return found


def moment(text: str | None, field: str) -> int | None:
    """A time as µs UTC. Raises: Invalid."""
    try:
        return parse_iso(text) if text else None
    except (ValueError, OverflowError):
        raise Invalid(f"Invalid input for field {field}: {text!r} is not a time.", field=field) from None


def one(query: Params, name: str) -> str | None:
    found = query.get(name)
    return found[-1] if found else None


def flag(query: Params, name: str) -> bool:
    """Whether a parameter is there and not false: `?effective` counts."""
    return name in query and query[name][-1].strip().lower() not in _FALSE


def switch(query: Params, name: str) -> int | None:
    """A boolean filter as a column has it; None where it is absent."""
    return int(flag(query, name)) if name in query else None
