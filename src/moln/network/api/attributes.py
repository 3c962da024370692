"""Attributes as Neutron declares them: who may give them, how they are read, what they may be searched and sorted by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import UNSET, Struct

from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.network.model import addresses

Parse = Callable[[Any, str], Any]  # (value, attribute name) to the value as model and ops take it


class Attribute(Struct, frozen=True, kw_only=True):
    """One attribute of a resource.

    name: on the wire. field: of the model and the table; "" when it is not kept as such. post, put: whether it may be given.
    default: for POST, UNSET when the attribute must be given, None etc. otherwise. filter: the column that equals, or a function from
    the values to Listing conditions, or None. sort: whether lists may be sorted by it.
    """

    name: str
    field: str = ""
    post: bool = False
    put: bool = False
    default: Any = None
    required: bool = False
    parse: Parse | None = None
    filter: Callable[[list[str]], list[tuple[str, str, Any]]] | str | None = None
    sort: bool = False


def says(parse: Parse, **schema: Any) -> Parse:
    """The same, with the JSON Schema of what it takes beside it (for `/openapi.json`)."""
    parse.json_schema = schema  # type: ignore[attr-defined]
    return parse


def schema_of(parse: Parse | None) -> dict[str, Any]:
    """The JSON Schema of what an attribute takes; {} is anything. Of a boolean that may be given as text, say, it tells only the boolean."""
    return getattr(parse, "json_schema", {})


def bad_value(name: str, reason: str) -> Invalid:
    """Neutron's words for a value that cannot be."""
    return Invalid(f"Invalid input for {name}. Reason: {reason}.", field=name)


def text(most: int = 255) -> Parse:
    """A string, at most so long."""

    def parse(value: Any, name: str) -> str:
        if not isinstance(value, str):
            raise bad_value(name, f"'{value}' is not a valid string")
        if len(value) > most:
            raise bad_value(name, f"'{value[:80]}' exceeds maximum length of {most}")
        return value

    return says(parse, type="string", maxLength=most)


def text_or_none(most: int = 255) -> Parse:
    """A string or null; null is the empty string."""
    inner = text(most)
    return says(lambda value, name: "" if value is None else inner(value, name), type=["string", "null"], maxLength=most)


def boolean(value: Any, name: str) -> bool:
    """true, false, and the words and numbers Neutron takes for them."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "1", "false", "0"):
        return value.lower() in ("true", "1")
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    raise bad_value(name, f"'{value}' cannot be converted to boolean")


says(boolean, type="boolean")


def whole(low: int = 0, high: int = (1 << 31) - 1) -> Parse:
    """A whole number, or its digits."""

    def parse(value: Any, name: str) -> int:
        if isinstance(value, str) and value.lstrip("-").isascii() and value.lstrip("-").isdecimal() and len(value) < 20:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise bad_value(name, f"'{value}' is not an integer")
        if not low <= value <= high:
            raise bad_value(name, f"'{value}' is not in range {low} through {high}")
        return value

    return says(parse, type="integer", minimum=low, maximum=high)


def optional(parse: Parse) -> Parse:
    """null, or what `parse` takes."""
    inner = schema_of(parse)
    schema = {"anyOf": [inner, {"type": "null"}]} if inner else {}
    return says(lambda value, name: None if value is None else parse(value, name), **schema)


def uuid(value: Any, name: str) -> str:
    """A UUID."""
    plain = value.replace("-", "") if isinstance(value, str) else ""
    if len(plain) != 32 or any(c not in "0123456789abcdefABCDEF" for c in plain):
        raise bad_value(name, f"'{value}' is not a valid UUID")
    return str(value)


says(uuid, type="string", format="uuid")


def one_of(*values: Any) -> Parse:
    """One of a few values."""

    def parse(value: Any, name: str) -> Any:
        if value not in values or isinstance(value, bool):
            raise bad_value(name, f"'{value}' is not in {list(values)}")
        return value

    return says(parse, enum=list(values))


def ip_version(value: Any, name: str) -> int:
    """4 or 6."""
    return int(one_of(4, 6)(whole()(value, name), name))


says(ip_version, enum=[4, 6])


def address(value: Any, name: str) -> str:
    """An IP address in its canonical form."""
    try:
        return str(addresses.parse_address(value, field=name))
    except Invalid:
        raise bad_value(name, f"'{value}' is not a valid IP address") from None


says(address, type="string")


def mac(value: Any, name: str) -> str:
    try:
        return addresses.parse_mac(value, field=name)
    except Invalid:
        raise bad_value(name, f"'{value}' is not a valid MAC address") from None


says(mac, type="string")


def cidr(value: Any, name: str) -> str:
    """A network without host bits."""
    try:
        return str(addresses.parse_cidr(value, field=name))
    except Invalid:
        raise bad_value(name, f"'{value}' is not a valid IP subnet") from None


says(cidr, type="string")

MOST_ITEMS = 1000  # of one list, where nothing else bounds it: each is kept in a row that lists show (SEC-42)


def loose_cidr(value: Any, name: str) -> str:
    """A network with its length; bits beyond that are cut off."""
    try:
        if not isinstance(value, str) or "/" not in value:
            raise Invalid("no length")
        return str(addresses.parse_cidr(value, field=name, host_bits=True))
    except Invalid:
        raise bad_value(name, f"'{value}' is not a valid IP subnet") from None


says(loose_cidr, type="string")


def list_of(parse: Parse, *, unique: bool = False, most: int = MOST_ITEMS) -> Parse:
    """A list of `most` items at most; null is the empty one."""

    def inner(value: Any, name: str) -> tuple[Any, ...]:
        if value is None or value == "":
            return ()
        if not isinstance(value, list):
            raise bad_value(name, f"'{value}' is not a list")
        if len(value) > most:
            raise bad_value(name, f"{len(value)} items are more than {most}")
        found = tuple(parse(item, name) for item in value)
        if unique and len(set(found)) != len(found):
            raise bad_value(name, f"Duplicate items in the list: '{', '.join(map(str, value))}'")
        return found

    return says(inner, type="array", items=schema_of(parse))


def object_of(shape: Mapping[str, Parse], *, required: tuple[str, ...] = ()) -> Parse:
    """An object with these keys and no others."""

    def inner(value: Any, name: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise bad_value(name, f"'{value}' is not a dictionary")
        if unknown := [key for key in value if key not in shape]:
            raise bad_value(name, f"Invalid data format: unexpected key '{unknown[0]}'")
        if absent := [key for key in required if key not in value]:
            raise bad_value(name, f"Validation of dictionary's keys failed. Expected keys: {set(required)}, missing '{absent[0]}'")
        return {key: shape[key](item, key) for key, item in value.items()}

    properties = {key: schema_of(parse) for key, parse in shape.items()}
    return says(inner, type="object", properties=properties, required=list(required), additionalProperties=False)


class Given(Struct, frozen=True):
    """What a caller asked for: model fields, with defaults filled in (POST), and the wire names that policy may guard: those given,
    in a POST only where they differ from the default; `fixed_ips:subnet_id` for keys inside them.
    """

    fields: dict[str, Any]
    names: frozenset[str]
    project_id: str = ""


def guarded(name: str, value: Any) -> frozenset[str]:
    """What policy guards when the attribute is given: itself, and the keys inside it."""
    inside = value if isinstance(value, (list, tuple)) else [value]
    keys = {key for item in inside if isinstance(item, dict) for key in item}
    keys |= {key for item in inside if isinstance(item, Struct) for key in item.__struct_fields__ if getattr(item, key)}
    return frozenset([name, *(f"{name}:{key}" for key in keys)])


class Schema:
    """One resource's attributes. resource: its name in the singular, as policy has it. standard: it has Neutron's standard attributes.

    single: its name in bodies, where policy has another.
    """

    def __init__(self, resource: str, collection: str, attributes: list[Attribute], *, standard: bool = True, single: str = ""):
        self.resource, self.collection, self.single = resource, collection, single or resource
        self.attributes = {attribute.name: attribute for attribute in [*(STANDARD if standard else PLAIN), *attributes]}

    def post(self, ctx: RequestContext, body: dict[str, Any]) -> Given:
        """A body of POST. Raises: Invalid."""
        body, project_id = _take_project(ctx, body)
        self._known(body)
        fields: dict[str, Any] = {}
        named: set[str] = set()
        for attribute in self.attributes.values():
            if attribute.name in body:
                if not attribute.post:
                    raise Invalid(f"Attribute '{attribute.name}' not allowed in POST", field=attribute.name)
                value = self._value(attribute, body[attribute.name])
                fields[attribute.field or attribute.name] = value
                if value != attribute.default and (value is False or value or attribute.default):
                    named |= guarded(attribute.name, value)
            elif attribute.required:
                raise Invalid(f"Failed to parse request. Required attribute '{attribute.name}' not specified", field=attribute.name)
            elif attribute.post and attribute.default is not UNSET:
                fields[attribute.field or attribute.name] = attribute.default
        return Given(fields, frozenset(named), project_id)

    def put(self, body: dict[str, Any]) -> Given:
        """A body of PUT. Raises: Invalid."""
        self._known(body)
        fields: dict[str, Any] = {}
        named: set[str] = set()
        for name, given in body.items():
            attribute = self.attributes.get(name)
            if attribute is None or not attribute.put:
                raise Invalid(f"Cannot update read-only attribute {name}", field=name)
            value = fields[attribute.field or attribute.name] = self._value(attribute, given)
            named |= guarded(name, value)
        return Given(fields, frozenset(named))

    def _value(self, attribute: Attribute, value: Any) -> Any:
        return attribute.parse(value, attribute.name) if attribute.parse is not None else value

    def _known(self, body: dict[str, Any]) -> None:
        unknown = [name for name in body if name not in self.attributes and name not in ("tenant_id", "project_id")]
        if unknown:
            raise Invalid(f"Unrecognized attribute(s) '{', '.join(name[:80] for name in unknown)}'", field=unknown[0])


def _take_project(ctx: RequestContext, body: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Whose the new thing is: the caller's project, or what an administrator says."""
    project, tenant = body.get("project_id"), body.get("tenant_id")
    if project is not None and tenant is not None and project != tenant:
        raise Invalid("'project_id' and 'tenant_id' do not match")
    asked = project if project is not None else tenant
    rest = {key: value for key, value in body.items() if key not in ("project_id", "tenant_id")}
    if asked is None:
        if not ctx.project_id and not ctx.is_admin:
            raise Invalid("Running without keystone AuthN requires that tenant_id is specified")
        return rest, ctx.project_id or ""
    if not isinstance(asked, str) or len(asked) > 255:
        raise bad_value("project_id", f"'{asked}' is not a valid string")
    if asked != ctx.project_id and not ctx.is_admin and "advsvc" not in ctx.roles:
        raise Invalid("Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires admin privileges")
    return rest, asked


def numbers(column: str) -> Callable[[list[str]], list[tuple[str, str, Any]]]:
    """Filter by whole numbers."""

    def where(values: list[str]) -> list[tuple[str, str, Any]]:
        return [(column, "in", [int(v) for v in values if v.lstrip("-").isdecimal() and len(v) < 19])]

    return where


def truths(column: str) -> Callable[[list[str]], list[tuple[str, str, Any]]]:
    """Filter by true or false."""

    def where(values: list[str]) -> list[tuple[str, str, Any]]:
        wanted = {boolean(value, column) for value in values}
        return [(column, "eq", int(wanted.pop()))] if len(wanted) == 1 else []

    return where


def shared_with_caller(clause: str = "shared_to") -> Callable[[list[str]], list[tuple[str, str, Any]]]:
    """Filter by whether a thing is shared with whoever asks."""

    def where(values: list[str]) -> list[tuple[str, str, Any]]:
        wanted = {boolean(value, "shared") for value in values}
        return [(clause if wanted.pop() else f"not_{clause}", "eq", CALLER)] if len(wanted) == 1 else []

    return where


CALLER = "\0caller"  # in a filter: the caller's project
PLAIN = [
    Attribute(name="id", field="id", filter="id", sort=True),
    Attribute(name="tenant_id", filter="project_id", sort=True),
    Attribute(name="project_id", filter="project_id", sort=True),
]
"""What every resource has."""

STANDARD = [
    *PLAIN,
    Attribute(
        name="description", field="description", post=True, put=True, default="", parse=text_or_none(), filter="description", sort=True
    ),
    Attribute(name="created_at"),
    Attribute(name="updated_at"),
    Attribute(name="revision_number", filter=numbers("revision_number"), sort=True),
]
"""What resources with Neutron's standard attributes have."""

QOS_POLICY = Attribute(
    name="qos_policy_id", field="qos_policy_id", post=True, put=True, default=None, parse=optional(uuid), filter="qos_policy_id"
)
SHARED = Attribute(
    name="shared", field="shared", post=True, put=True, default=False, parse=boolean, filter=shared_with_caller(), sort=False
)
NAME = Attribute(name="name", field="name", post=True, put=True, default="", parse=text(), filter="name", sort=True)
ADMIN_STATE = Attribute(
    name="admin_state_up",
    field="admin_state_up",
    post=True,
    put=True,
    default=True,
    parse=boolean,
    filter=truths("admin_state_up"),
    sort=True,
)
