"""What callers send to make or change a server (nova.api.openstack.compute.schemas.servers), made into what ops take."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import unicodedata
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from moln.compute.model.server_requests import (
    BUSES,
    BlockDevice,
    InjectedFile,
    Malformed,
    NetworkRequest,
    ServerRequest,
    device_name,
    split_zone,
)
from moln.compute.model.servers import MOST_TAGS, MOST_USER_DATA
from moln.compute.ops import create
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Body, since, until

Text255 = Annotated[str, Meta(max_length=255)]
Tag = Annotated[str, Meta(min_length=1, max_length=60, pattern="^[^,/]*$")]
METADATA_KEY = re.compile(r"^[a-zA-Z0-9-_:. ]{1,255}\Z")
HOSTNAME = re.compile(r"^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+\Z")
FQDN = re.compile(r"^[a-zA-Z0-9-._]+\Z")
MOST_HINTS = 8192  # bytes
TRUE = frozenset({"1", "on", "true", "yes"})
FALSE = frozenset({"0", "off", "false", "no"})
UUID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
Truth = bool | str | int


class NetworkItem(Body):
    uuid: str | None | UnsetType = UNSET
    port: str | None | UnsetType = UNSET
    fixed_ip: str | UnsetType = UNSET
    tag: Annotated[Tag | UnsetType, since("2.32")] = UNSET


class MappingItem(Body):
    source_type: Literal["volume", "image", "snapshot", "blank"] | UnsetType = UNSET
    destination_type: Literal["local", "volume"] | UnsetType = UNSET
    uuid: Annotated[str, Meta(min_length=1, max_length=255, pattern="^[a-zA-Z0-9._-]*$")] | UnsetType = UNSET
    image_id: str | UnsetType = UNSET
    volume_id: str | UnsetType = UNSET
    snapshot_id: str | UnsetType = UNSET
    volume_size: int | str | None | UnsetType = UNSET
    device_name: Annotated[str, Meta(min_length=1, max_length=255, pattern="^[a-zA-Z0-9._/-]*$")] | None | UnsetType = UNSET
    delete_on_termination: Truth | UnsetType = UNSET
    no_device: Any = UNSET
    virtual_name: Text255 | UnsetType = UNSET
    connection_info: str | UnsetType = UNSET
    guest_format: Text255 | None | UnsetType = UNSET
    device_type: Text255 | None | UnsetType = UNSET
    disk_bus: Text255 | None | UnsetType = UNSET
    boot_index: int | str | None | UnsetType = UNSET
    tag: Annotated[Tag | UnsetType, since("2.32")] = UNSET
    volume_type: Annotated[Text255 | None | UnsetType, since("2.67")] = UNSET


class Group(Body):
    name: Text255


class FileItem(Body):
    path: str
    contents: str


class ServerCreate(Body):
    name: str
    flavorRef: str | int
    imageRef: str | UnsetType = UNSET
    networks: list[NetworkItem] | str | None | UnsetType = UNSET
    block_device_mapping_v2: list[MappingItem] | UnsetType = UNSET
    block_device_mapping: list[MappingItem] | UnsetType = UNSET
    metadata: dict[str, Text255] | UnsetType = UNSET
    security_groups: list[Group] | UnsetType = UNSET
    key_name: Text255 | UnsetType = UNSET
    user_data: str | None | UnsetType = UNSET
    config_drive: Truth | UnsetType = UNSET
    availability_zone: Text255 | UnsetType = UNSET
    min_count: int | str | UnsetType = UNSET
    max_count: int | str | UnsetType = UNSET
    return_reservation_id: Truth | UnsetType = UNSET
    adminPass: str | UnsetType = UNSET
    accessIPv4: str | UnsetType = UNSET
    accessIPv6: str | UnsetType = UNSET
    disk_config: Literal["AUTO", "MANUAL"] | UnsetType = field(name="OS-DCF:diskConfig", default=UNSET)
    personality: Annotated[list[FileItem] | UnsetType, until("2.56")] = UNSET
    description: Annotated[Text255 | None | UnsetType, since("2.19")] = UNSET
    tags: Annotated[list[Tag] | UnsetType, since("2.52")] = UNSET
    trusted_image_certificates: Annotated[list[str] | None | UnsetType, since("2.63")] = UNSET
    host: Annotated[Text255 | UnsetType, since("2.74")] = UNSET
    hypervisor_hostname: Annotated[Text255 | UnsetType, since("2.74")] = UNSET
    hostname: Annotated[Text255 | UnsetType, since("2.90")] = UNSET


class CreateBody(Body):
    server: ServerCreate
    hints: dict[str, Any] | UnsetType = field(name="os:scheduler_hints", default=UNSET)
    old_hints: dict[str, Any] | UnsetType = field(name="OS-SCH-HNT:scheduler_hints", default=UNSET)


class ServerUpdate(Body, root="server"):
    name: str | UnsetType = UNSET
    accessIPv4: str | UnsetType = UNSET
    accessIPv6: str | UnsetType = UNSET
    disk_config: Literal["AUTO", "MANUAL"] | UnsetType = field(name="OS-DCF:diskConfig", default=UNSET)
    description: Annotated[Text255 | None | UnsetType, since("2.19")] = UNSET
    hostname: Annotated[Text255 | UnsetType, since("2.90")] = UNSET
    pinned_availability_zone: Annotated[Text255 | None | UnsetType, since("2.104")] = UNSET


def given(value: Any, otherwise: Any = None) -> Any:
    """The value, unless the caller left it out."""
    return otherwise if value is UNSET else value


def name(text: str, what: str = "name") -> str:
    """1 to 255 printable characters without spaces around. Raises: Invalid."""
    if not text or len(text) > 255:
        raise Invalid(f"Invalid input for field/attribute {what}. Value: {text[:40]}. It must have 1 to 255 characters.", field=what)
    if text != text.strip() or any(unicodedata.category(c)[0] == "C" or unicodedata.category(c) in ("Zl", "Zp") for c in text):
        raise Invalid(
            f"Invalid input for field/attribute {what}. Value: {text[:40]}. An invalid 'name' value was provided. The name must be: "
            "printable characters. Can not start or end with whitespace.",
            field=what,
        )
    return text


def truth(value: Truth, what: str) -> bool:
    """Nova's words for true and false. Raises: Invalid."""
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise Invalid(f"Invalid input for field/attribute {what}. Value: {value}. It is not a boolean.", field=what)


def number(value: int | str, what: str, *, least: int, most: int = 0x7FFFFFFF) -> int:
    """A whole number, also as text. Raises: Invalid."""
    if isinstance(value, bool) or isinstance(value, str) and not re.fullmatch(r"-?[0-9]{1,18}", value):
        raise Invalid(f"Invalid input for field/attribute {what}. Value: {str(value)[:40]}. It is not a whole number.", field=what)
    if not least <= int(value) <= most:
        raise Invalid(f"Invalid input for field/attribute {what}. Value: {value}. It must be from {least} to {most}.", field=what)
    return int(value)


def is_uuid(text: str) -> bool:
    return UUID.fullmatch(text) is not None


def address(text: str | None, what: str, version: int | None = None) -> str | None:
    """An IP address in its usual form; "" is none. Raises: Invalid."""
    if not text:
        return None
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        found = None
    if found is None or version not in (None, found.version):
        raise Invalid(f"Invalid input for field/attribute {what}. Value: {text[:60]}. It is not an IP address.", field=what)
    return str(found)


def metadata(items: dict[str, str]) -> dict[str, str]:
    """Raises: Invalid, for a key that is none."""
    for key in items:
        if not METADATA_KEY.match(key):
            raise Invalid(f"Invalid input for field/attribute metadata. Additional properties are not allowed ({key[:64]!r} was unexpected)", field="metadata")
    return items


def hostname(text: str, ctx: RequestContext) -> str:
    """A host name; since 2.94 with its domain. Raises: Invalid."""
    good = FQDN.match(text) if ctx.at_least(2, 94) else len(text) <= 63 and HOSTNAME.match(text)
    if not good:
        raise Invalid(f"Invalid input for field/attribute hostname. Value: {text[:64]}. It is not a host name.", field="hostname")
    return text


def user_data(text: str | None) -> str | None:
    """Base64 of at most 65535 characters. Raises: Invalid."""
    if text is None or text == "":
        return None
    if len(text) > MOST_USER_DATA:
        raise Invalid(f"Invalid input for field/attribute user_data. It is longer than {MOST_USER_DATA} characters.", field="user_data")
    try:
        base64.b64decode(re.sub(r"\s", "", text), validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("Invalid input for field/attribute user_data. It is not base64.", field="user_data") from None
    return text


def files(asked: list[FileItem]) -> tuple[InjectedFile, ...]:
    """`personality`. Raises: Invalid."""
    out = []
    for item in asked:
        try:
            size = len(base64.b64decode(re.sub(r"\s", "", item.contents), validate=True))
        except (binascii.Error, ValueError):
            raise Invalid("Invalid input for field/attribute contents. It is not base64.", field="contents") from None
        out.append(InjectedFile(item.path, item.contents, size))
    return tuple(out)


def networks(ctx: RequestContext, asked: list[NetworkItem] | str | None) -> tuple[NetworkRequest, ...] | Literal["auto", "none"] | None:
    """Raises: Invalid."""
    if ctx.at_least(2, 37):
        if asked is None:
            raise Invalid("Invalid input for field/attribute server. 'networks' is a required property", field="networks")
        if isinstance(asked, str):
            if asked not in ("auto", "none"):
                raise Invalid(f"Invalid input for field/attribute networks. Value: {asked[:40]}. It is not a list, auto or none.", field="networks")
            return asked  # type: ignore[return-value]
    elif isinstance(asked, str):
        raise Invalid(f"Invalid input for field/attribute networks. Value: {asked[:40]}. It is not of type 'array'.", field="networks")
    if asked is None:
        return None
    out = []
    for item in asked:
        network_id, port_id = given(item.uuid), given(item.port)
        fixed_ip = address(given(item.fixed_ip), "fixed_ip")
        tag = given(item.tag)
        if tag is not None and (2, 36) < ctx.version < (2, 42):
            raise Invalid("Additional properties are not allowed ('tag' was unexpected)", field="tag")
        if port_id:
            if not is_uuid(port_id):
                raise Invalid(f"Bad port format: port uuid is not in proper format ({port_id[:64]})", field="port")
            if fixed_ip is not None:
                raise Invalid(
                    f"Specified Fixed IP '{fixed_ip}' cannot be used with port '{port_id}': the two cannot be specified together."
                )
            out.append(NetworkRequest(None, port_id, None, tag))
            continue
        if not network_id:
            raise Invalid("Bad network format: missing 'uuid'", field="networks")
        if not is_uuid(network_id):
            raise Invalid(f"Bad networks format: network uuid is not in proper format ({network_id[:64]})", field="uuid")
        out.append(NetworkRequest(network_id, None, fixed_ip, tag))
    return tuple(out)


def mapping(item: MappingItem, ctx: RequestContext, *, has_image: bool) -> BlockDevice:
    """One block_device_mapping_v2. Raises: Invalid."""
    source = given(item.source_type)
    what = given(item.uuid)
    if source is None:
        raise Malformed("Some required fields are missing: source_type.")
    if given(item.tag) is not None and (2, 32) < ctx.version < (2, 42):
        raise Invalid("Additional properties are not allowed ('tag' was unexpected)", field="tag")
    if source == "blank" and what:
        raise Malformed("Invalid device UUID.")
    what = what or given(getattr(item, f"{source}_id", UNSET))
    if source != "blank" and not what:
        raise Malformed("Missing device UUID.")
    destination = given(item.destination_type) or ("local" if source in ("blank", "image") else "volume")
    index = given(item.boot_index)
    boot_index = None if index is None else number(index, "boot_index", least=-0x7FFFFFFF)
    if boot_index is not None and boot_index < 0:
        boot_index = None
    size = given(item.volume_size)
    volume_type = given(item.volume_type)
    if source == "image" and destination == "local" and not (has_image and boot_index == 0):
        raise Malformed("Mapping image to local is not supported.")
    if volume_type and destination == "local":
        raise Malformed("Specifying a volume_type with destination_type=local is not supported.")
    if volume_type and source == "volume":
        raise Malformed("Specifying volume type to existing volume is not supported.")
    bus = given(item.disk_bus)
    if bus is not None and bus not in BUSES:
        raise Invalid(f"Block Device Mapping is Invalid: The boot disk bus {bus[:20]} is invalid.", field="disk_bus")
    device = given(item.device_name)
    return BlockDevice(
        source=source, destination=destination, source_id=what, size_gib=None if size is None else number(size, "volume_size", least=1),
        boot_index=boot_index, delete_on_termination=truth(given(item.delete_on_termination, False), "delete_on_termination"),
        device=device_name(device) if device else None, tag=given(item.tag), volume_type=volume_type,
        guest_format=given(item.guest_format),
    )  # fmt: skip


def old_mapping(item: MappingItem, ctx: RequestContext) -> BlockDevice:
    """The first form of a mapping: a volume or snapshot, and a device name. Raises: Invalid."""
    volume_id, snapshot_id = given(item.volume_id), given(item.snapshot_id)
    if not volume_id and not snapshot_id:
        raise Malformed("Unrecognized legacy format.")
    size = given(item.volume_size)
    device = given(item.device_name) or ""
    return BlockDevice(
        source="snapshot" if snapshot_id else "volume", destination="volume", source_id=snapshot_id or volume_id,
        size_gib=None if size in (None, "") else number(size, "volume_size", least=1),
        boot_index=0 if device.removeprefix("/dev/") == "vda" else None,
        delete_on_termination=truth(given(item.delete_on_termination, False), "delete_on_termination"),
    )  # fmt: skip


def block_devices(body: ServerCreate, ctx: RequestContext) -> tuple[BlockDevice, ...]:
    """Raises: Invalid."""
    new, old = given(body.block_device_mapping_v2) or [], given(body.block_device_mapping) or []
    if new and old:
        raise Invalid("Using different block_device_mapping syntaxes is not allowed in the same request.")
    if old:
        return tuple(old_mapping(i, ctx) for i in old if not given(i.no_device))
    return tuple(mapping(i, ctx, has_image=bool(given(body.imageRef))) for i in new if not given(i.no_device))


def scheduler_hints(hints: dict[str, Any]) -> dict[str, Any]:
    """They are kept and shown with the server: bounded (SEC-42). Raises: Invalid."""
    if len(msgspec.json.encode(hints)) > MOST_HINTS:
        raise Invalid(f"Invalid input for field/attribute os:scheduler_hints. It is larger than {MOST_HINTS} bytes.", field="os:scheduler_hints")
    return hints


def request(ctx: RequestContext, body: CreateBody) -> ServerRequest:
    """POST /servers as ops take it. Raises: Invalid."""
    s = body.server
    label = name(s.name.strip() if ctx.version == (2, 0) else s.name)
    least = number(given(s.min_count, 1), "min_count", least=1)
    most = number(given(s.max_count, least), "max_count", least=1)
    if least > most:
        raise Invalid("min_count must be <= max_count", field="min_count")
    if given(s.trusted_image_certificates):
        raise Invalid("Image signatures are not checked here; trusted_image_certificates cannot be given.", field="trusted_image_certificates")
    zone, host, node = split_zone(given(s.availability_zone))
    forced = bool(host or node)
    if forced and (given(s.host) or given(s.hypervisor_hostname)):
        raise Invalid("You cannot specify both a host in availability_zone and host or hypervisor_hostname.")
    image = given(s.imageRef)
    if image is not None and image != "":
        image = image.rstrip("/").rpartition("/")[2]
        if not is_uuid(image):
            raise Invalid("Invalid imageRef provided.", field="imageRef")
    tags = given(s.tags) or []
    if len(tags) > MOST_TAGS:
        raise Invalid(f"Invalid input for field/attribute tags. There may be {MOST_TAGS} at most.", field="tags")
    groups = given(s.security_groups)
    return ServerRequest(
        name=label, flavor_ref=str(s.flavorRef).rstrip("/").rpartition("/")[2], image_ref=image, networks=networks(ctx, given(s.networks)),
        block_devices=block_devices(s, ctx), metadata=metadata(given(s.metadata) or {}),
        security_groups=tuple(name(g.name, "security_groups") for g in groups) if groups is not None else None,
        key_name=given(s.key_name), user_data=user_data(given(s.user_data)),
        config_drive=truth(given(s.config_drive, False), "config_drive"), zone=zone, host=host or given(s.host),
        node=node or given(s.hypervisor_hostname), forced=forced, min_count=least, max_count=most,
        description=given(s.description) if ctx.at_least(2, 19) else label, tags=tuple(tags),
        hostname=hostname(s.hostname, ctx) if s.hostname is not UNSET else None, disk_config=given(s.disk_config, "MANUAL"),
        access_ip_v4=address(given(s.accessIPv4), "accessIPv4", 4), access_ip_v6=address(given(s.accessIPv6), "accessIPv6", 6),
        scheduler_hints=scheduler_hints(given(body.hints) or given(body.old_hints) or {}),
        admin_password=given(s.adminPass) or create.password(ctx), files=files(given(s.personality) or []),
    )  # fmt: skip


def changes(ctx: RequestContext, body: ServerUpdate) -> dict[str, Any]:
    """PUT /servers/{id} as ops take it. Raises: Invalid."""
    out: dict[str, Any] = {}
    if body.name is not UNSET:
        out["name"] = name(body.name)
    if body.description is not UNSET:
        out["description"] = body.description
    if body.accessIPv4 is not UNSET:
        out["access_ip_v4"] = address(body.accessIPv4, "accessIPv4", 4)
    if body.accessIPv6 is not UNSET:
        out["access_ip_v6"] = address(body.accessIPv6, "accessIPv6", 6)
    if body.disk_config is not UNSET:
        out["disk_config"] = body.disk_config
    if body.hostname is not UNSET:
        out["hostname"] = hostname(body.hostname, ctx)
    if body.pinned_availability_zone is not UNSET:
        out["pinned_az"] = body.pinned_availability_zone
    return out
