"""Bodies and queries decoded into Structs, views trimmed to a microversion."""

from __future__ import annotations

import re
import types
import typing
from functools import cache
from typing import Annotated, Any, ClassVar, Self, TypeVar, get_args, get_origin

import msgspec
from msgspec import UNSET, Meta, Struct

from moln.kernel.context import Version
from moln.kernel.errors import Invalid

S = TypeVar("S", bound=Struct)
ANY_VERSION: Version = (0, 0)
NEWEST: Version = (9999, 9999)
DEPTH = 64  # levels of a body, at most
QUOTED = 128  # characters of what a caller sent, in a fault


def version(text: str) -> Version:
    major, _, minor = text.partition(".")
    return int(major), int(minor)


def since(text: str) -> Meta:
    """`Annotated[str | UnsetType, since("2.26")]`: the field exists from this microversion on."""
    return Meta(extra={"since": version(text)}, extra_json_schema={"x-openstack": {"min-ver": text}})


def until(text: str) -> Meta:
    """The last microversion that has the field."""
    return Meta(extra={"until": version(text)}, extra_json_schema={"x-openstack": {"max-ver": text}})


class _Versioned(typing.NamedTuple):
    attribute: str
    wire: str
    since: Version
    until: Version


@cache
def _fields(cls: type[Struct]) -> tuple[tuple[_Versioned, ...], tuple[str, ...]]:
    """(fields that some versions lack, fields that hold Structs with such fields)."""
    versioned, nested = [], []
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in msgspec.structs.fields(cls):
        first, last = ANY_VERSION, NEWEST
        for meta in _metas(hints[field.name]):
            extra = meta.extra or {}
            first, last = extra.get("since", first), extra.get("until", last)
        if (first, last) != (ANY_VERSION, NEWEST):
            versioned.append(_Versioned(field.name, field.encode_name, first, last))
        if any(_fields(inner) != ((), ()) for inner in _structs(hints[field.name]) if inner is not cls):
            nested.append(field.name)
    return tuple(versioned), tuple(nested)


def _metas(hint: Any) -> list[Meta]:
    if get_origin(hint) is Annotated:
        return [m for m in get_args(hint)[1:] if isinstance(m, Meta)]
    return []


def _structs(hint: Any) -> list[type[Struct]]:
    if isinstance(hint, type) and issubclass(hint, Struct):
        return [hint]
    if get_origin(hint) in (Annotated, list, dict, typing.Union, types.UnionType, tuple):
        return [s for a in get_args(hint) for s in _structs(a)]
    return []


def _refuse(value: Any, at: Version) -> None:
    """Raises Invalid, when a field is set that the microversion does not know."""
    if isinstance(value, list):
        for item in value:
            _refuse(item, at)
    elif isinstance(value, dict):
        for item in value.values():
            _refuse(item, at)
    elif isinstance(value, Struct):
        versioned, nested = _fields(type(value))
        for field in versioned:
            if not field.since <= at <= field.until and getattr(value, field.attribute) is not UNSET:
                raise Invalid(f"Additional properties are not allowed ('{field.wire}' was unexpected)", field=field.wire)
        for name in nested:
            _refuse(getattr(value, name), at)


class _BodyMeta(type(Struct)):  # type: ignore[misc]
    """Takes `root` and `lax` in the class statement."""

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], root: str | None = None, lax: bool = False,
                **options: Any) -> Any:  # fmt: skip
        cls = super().__new__(mcls, name, bases, namespace, **{"kw_only": True, **options})  # msgspec does not inherit it
        cls._root, cls._lax, cls._decoder = root, lax, None
        return cls


class Body(Struct, metaclass=_BodyMeta, forbid_unknown_fields=True, kw_only=True):
    """A request's body. Unknown fields are refused; a subclass may say `forbid_unknown_fields=False`.

    root: the key that wraps it on the wire, as in `class VolumeCreate(Body, root="volume")`. lax: take "1" for 1 and "true" for true.
    A field with `since`/`until` needs the default UNSET.
    """

    _decoder: ClassVar[msgspec.json.Decoder[Any] | None] = None
    _root: ClassVar[str | None] = None
    _lax: ClassVar[bool] = False

    @classmethod
    def parse(cls, raw: bytes, at: Version = NEWEST) -> Self:
        """Raises: Invalid, the field named."""
        decoder = cls._decoder
        if decoder is None:
            shape: Any = cls
            if cls._root is not None:
                shape = msgspec.defstruct("Root", [("inner", cls, msgspec.field(name=cls._root))], forbid_unknown_fields=True)
            decoder = cls._decoder = msgspec.json.Decoder(shape, strict=not cls._lax)
        value = decode(decoder, raw)
        if cls._root is not None:
            value = value.inner
        if _fields(cls) != ((), ()):
            _refuse(value, at)
        return value  # type: ignore[no-any-return]


def explain(error: msgspec.ValidationError) -> Invalid:
    """msgspec's complaint as our own, the field named. What the caller sent is quoted in part only."""
    text = str(error)
    what, at, path = text.rpartition(" - at `$")
    if not at:
        what, path = text, ""
    path = path.removesuffix("`").lstrip(".")[:QUOTED]
    if what.startswith("Object contains unknown field `"):
        name = what[len("Object contains unknown field `"):-1][:QUOTED]
        where = f" in {path}" if path else ""
        return Invalid(f"Additional properties are not allowed ('{name}' was unexpected){where}", field=name)
    missing = re.search(r"missing required field `(\w[^`]*)`", what)
    if missing:
        return Invalid(f"'{missing[1]}' is a required property", field=missing[1])
    return Invalid(f"Invalid input for field/attribute {path or 'body'}. {what[:QUOTED]}", field=path.rpartition(".")[2] or None)


_SUSPECT = re.compile(rb"\\u0000|\d{19}")


def decode(decoder: msgspec.json.Decoder[Any], raw: bytes) -> Any:
    """Raises: Invalid, for what is not JSON, does not fit, has a NUL or a number beyond 64 bits, or is nested beyond DEPTH."""
    try:
        value = decoder.decode(raw)
        if _SUSPECT.search(raw) or raw.count(b"[") + raw.count(b"{") > DEPTH:
            _inspect(msgspec.json.decode(raw))
    except msgspec.ValidationError as error:
        raise explain(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"Malformed JSON in request body: {error}") from None
    except RecursionError:
        raise Invalid(f"The request body is nested deeper than {DEPTH} levels.") from None
    return value


def _inspect(value: Any) -> None:
    """Raises: Invalid, for what JSON can say and a database or a recursive function cannot take."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEPTH:
            raise Invalid(f"The request body is nested deeper than {DEPTH} levels.")
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                if "\0" in item:
                    raise Invalid("A NUL character is not allowed in request body.")
            elif isinstance(item, int):
                if not -(2**63) <= item < 2**63:
                    raise Invalid("A number is beyond 64 bits.")
            elif isinstance(item, dict):
                below += item
                below += item.values()
            elif isinstance(item, list):
                below += item
        level = below


class QueryParams(Struct, kw_only=True):
    """A request's query. Unknown parameters are ignored; with `forbid_unknown_fields=True` they are refused.

    A field of a list type takes repeated parameters; any other the last one. Fields need defaults (UNSET or None).
    """

    @classmethod
    def parse(cls, params: dict[str, list[str]], at: Version = NEWEST) -> Self:
        """Raises: Invalid, the parameter named."""
        lists = _list_fields(cls)
        plain = {k: (v if k in lists else v[-1]) for k, v in params.items()}
        try:
            value = msgspec.convert(plain, cls, strict=False)
        except msgspec.ValidationError as error:
            raise explain(error) from None
        if _fields(cls) != ((), ()):
            versioned, _ = _fields(cls)
            for field in versioned:
                if not field.since <= at <= field.until:
                    setattr(value, field.attribute, UNSET)
        return value


@cache
def _list_fields(cls: type[Struct]) -> frozenset[str]:
    hints = typing.get_type_hints(cls)
    return frozenset(f.encode_name for f in msgspec.structs.fields(cls) if "list" in str(hints[f.name]))


class View(Struct, kw_only=True):
    """What an answer says. Fields with `since`/`until` are left out of other versions by `at`."""

    def at(self, wanted: Version) -> Self:
        """The same view, trimmed in place to a microversion; nested views too."""
        _trim(self, wanted)
        return self


def _trim(value: Any, wanted: Version) -> None:
    if isinstance(value, Struct):
        versioned, nested = _fields(type(value))
        for field in versioned:
            if not field.since <= wanted <= field.until:
                setattr(value, field.attribute, UNSET)
        for name in nested:
            _trim(getattr(value, name), wanted)
    elif isinstance(value, list):
        for item in value:
            _trim(item, wanted)
    elif isinstance(value, dict):
        for item in value.values():
            _trim(item, wanted)
