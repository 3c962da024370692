"""A server as clients see it, at every microversion (nova.api.openstack.compute.views.servers)."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from moln.compute.model.server_lines import Line, VolumeRef
from moln.compute.model.servers import WITH_PROGRESS, FixedAddress, status_of
from moln.compute.ops import hosts, server_groups
from moln.compute.ops.servers import SERVICE
from moln.compute.store import servers as store
from moln.kernel.clock import iso
from moln.kernel.context import RequestContext, Version
from moln.kernel.http import View, since
from moln.kernel.http.bodies import _fields

Either = str | None | UnsetType
NOTHING = Raw(b"{}")
MOST_LOOKS = 4096
_texts = msgspec.json.Decoder(dict[str, str]).decode
_addresses = msgspec.json.Decoder(dict[str, list[FixedAddress]]).decode
_volumes = msgspec.json.Decoder(list[VolumeRef]).decode


class Link(Struct, frozen=True, gc=False):
    rel: str
    href: str


class FlavorRef(Struct, frozen=True, gc=False):
    """Before 2.47."""

    id: str
    links: tuple[Link, ...]


class BareFlavor(Struct, frozen=True, gc=False):
    """The flavor for those who may not see its extra specs."""

    vcpus: int
    ram: int
    disk: int
    ephemeral: int
    swap: int
    original_name: str


class ImageRef(Struct, frozen=True, gc=False):
    id: str
    links: tuple[Link, ...]
    properties: dict[str, str] | UnsetType = UNSET


class FaultView(Struct, frozen=True, gc=False):
    code: int
    created: str
    message: str
    details: str | UnsetType = UNSET


class OldVolumeRef(Struct, frozen=True, gc=False):
    """Before 2.3."""

    id: str


class BareAddress(Struct, frozen=True, gc=False):
    version: int
    addr: str


class Basic(Struct, frozen=True, gc=False):
    """A server in a short list."""

    id: str
    name: str
    links: Raw


class ServerView(View, gc=False):
    """A server in full. Which fields there are depends on the microversion and on who looks."""

    id: str
    name: str
    status: str
    tenant_id: str
    user_id: str
    metadata: Raw
    hostId: str
    image: ImageRef | str
    flavor: Raw | BareFlavor | FlavorRef
    created: str
    updated: str
    addresses: Raw
    accessIPv4: str
    accessIPv6: str
    links: Raw
    disk_config: str = field(name="OS-DCF:diskConfig")
    zone: str = field(name="OS-EXT-AZ:availability_zone")
    config_drive: str
    key_name: str | None
    launched_at: str | None = field(name="OS-SRV-USG:launched_at")
    terminated_at: str | None = field(name="OS-SRV-USG:terminated_at")
    task_state: str | None = field(name="OS-EXT-STS:task_state")
    vm_state: str = field(name="OS-EXT-STS:vm_state")
    power_state: int = field(name="OS-EXT-STS:power_state")
    volumes: Raw | list[OldVolumeRef] = field(name="os-extended-volumes:volumes_attached")
    progress: int | UnsetType = UNSET
    fault: FaultView | UnsetType = UNSET
    security_groups: Raw | UnsetType = UNSET
    host: Either = field(name="OS-EXT-SRV-ATTR:host", default=UNSET)
    instance_name: Either = field(name="OS-EXT-SRV-ATTR:instance_name", default=UNSET)
    hypervisor_hostname: Either = field(name="OS-EXT-SRV-ATTR:hypervisor_hostname", default=UNSET)
    hostname: Either = field(name="OS-EXT-SRV-ATTR:hostname", default=UNSET)
    kernel_id: Annotated[Either, since("2.3")] = field(name="OS-EXT-SRV-ATTR:kernel_id", default=UNSET)
    launch_index: Annotated[int | UnsetType, since("2.3")] = field(name="OS-EXT-SRV-ATTR:launch_index", default=UNSET)
    ramdisk_id: Annotated[Either, since("2.3")] = field(name="OS-EXT-SRV-ATTR:ramdisk_id", default=UNSET)
    reservation_id: Annotated[Either, since("2.3")] = field(name="OS-EXT-SRV-ATTR:reservation_id", default=UNSET)
    root_device_name: Annotated[Either, since("2.3")] = field(name="OS-EXT-SRV-ATTR:root_device_name", default=UNSET)
    user_data: Annotated[Either, since("2.3")] = field(name="OS-EXT-SRV-ATTR:user_data", default=UNSET)
    locked: Annotated[bool | UnsetType, since("2.9")] = UNSET
    host_status: Annotated[str | UnsetType, since("2.16")] = UNSET
    description: Annotated[Either, since("2.19")] = UNSET
    tags: Annotated[Raw | UnsetType, since("2.26")] = UNSET
    trusted_image_certificates: Annotated[list[str] | None | UnsetType, since("2.63")] = UNSET
    server_groups: Annotated[list[str] | UnsetType, since("2.71")] = UNSET
    locked_reason: Annotated[Either, since("2.73")] = UNSET
    pinned_availability_zone: Annotated[Either, since("2.96")] = UNSET
    scheduler_hints: Annotated[Raw | UnsetType, since("2.100")] = UNSET


class Look(Struct, frozen=True, gc=False):
    """What one answer shows, found out once: by the microversion and by who asks. absent: fields that the microversion lacks."""

    base: str
    absent: tuple[str, ...]
    bare: bool
    specs: bool
    attributes: bool
    host_status: bool
    delete_on_termination: bool
    properties: bool
    hostname: bool
    groups: bool
    admin: bool


_looks: dict[Any, Look] = {}


@lru_cache(256)
def _absent(version: Version) -> tuple[str, ...]:
    versioned, _ = _fields(ServerView)
    return tuple(f.attribute for f in versioned if not f.since <= version <= f.until)


def look(ctx: RequestContext, *, one: bool = False) -> Look:
    """one: a single server, shown with its server groups. Worked out once for each caller, microversion and policy."""
    key = (ctx.who, ctx.version, one, ctx.cloud.policy)
    found = _looks.get(key)
    if found is None:
        if len(_looks) > MOST_LOOKS:
            _looks.clear()
        found = _looks[key] = _look(ctx, one)
    return found


def _look(ctx: RequestContext, one: bool) -> Look:
    own = {"project_id": ctx.project_id, "user_id": ctx.user_id}
    attributes = ctx.allows(SERVICE, "os_compute_api:os-extended-server-attributes", own)
    return Look(
        base=f"{ctx.settings.public_url}/compute",
        absent=_absent(ctx.version),
        bare=ctx.version < (2, 47), specs=ctx.allows(SERVICE, "os_compute_api:servers:show:flavor-extra-specs", own),
        attributes=attributes,
        host_status=ctx.version >= (2, 16) and ctx.allows(SERVICE, "os_compute_api:servers:show:host_status", own),
        delete_on_termination=ctx.version >= (2, 3), properties=ctx.version >= (2, 98),
        hostname=ctx.version >= (2, 90) or attributes and ctx.version >= (2, 3), groups=one, admin=ctx.is_admin,
    )  # fmt: skip


def links(base: str, server_id: str) -> tuple[Link, ...]:
    return (Link("self", f"{base}/v2.1/servers/{server_id}"), Link("bookmark", f"{base}/servers/{server_id}"))


def _links(base: str, server_id: str) -> Raw:
    """The same as text: a server's ids need no escaping, and a page has hundreds of links."""
    return Raw(
        f'[{{"rel":"self","href":"{base}/v2.1/servers/{server_id}"}},{{"rel":"bookmark","href":"{base}/servers/{server_id}"}}]'
    )


def basic(base: str, server: Line) -> Basic:
    return Basic(server.id, server.name, _links(base, server.id))


def _image(server: Line, seen: Look) -> ImageRef | str:
    if server.image_id is None:
        return ""
    if not seen.properties:
        return ImageRef(server.image_id, _bookmark(seen.base, "images", server.image_id))
    kept = {k: v for k, v in _texts(server.image_properties).items() if k.startswith(("hw_", "os_", "img_"))}
    return ImageRef(server.image_id, _bookmark(seen.base, "images", server.image_id), kept)


def _flavor(server: Line, seen: Look) -> Raw | BareFlavor | FlavorRef:
    if seen.bare:
        return FlavorRef(server.flavor_id, _bookmark(seen.base, "flavors", server.flavor_id))
    return Raw(server.flavor) if seen.specs else _bare_flavor(server.flavor)


def show(ctx: RequestContext, server: Line, seen: Look, user_data: str | None = None) -> ServerView:
    """user_data: in base64, for those who see the extended attributes."""
    status, host, attributes = status_of(server.vm_state, server.task_state), server.host, seen.attributes
    view = ServerView(
        id=server.id, name=server.name, status=status, tenant_id=server.project_id, user_id=server.user_id, metadata=Raw(server.metadata),
        hostId=host_id(server.project_id, host) if host else "", image=_image(server, seen), flavor=_flavor(server, seen),
        created=iso(server.created_at), updated=iso(server.updated_at), addresses=NOTHING if status == "BUILD" else Raw(server.addresses),
        accessIPv4=server.access_ip_v4 or "", accessIPv6=server.access_ip_v6 or "", links=_links(seen.base, server.id),
        disk_config=server.disk_config, zone=server.az, config_drive="True" if server.config_drive else "", key_name=server.key_name,
        launched_at=_usage(server.launched_at), terminated_at=None if server.terminated_at is None else _usage(server.terminated_at), task_state=server.task_state,
        vm_state=server.vm_state, power_state=server.power_state,
        volumes=Raw(server.attached) if seen.delete_on_termination else [OldVolumeRef(v.id) for v in _volumes(server.attached)],
        progress=0 if status in WITH_PROGRESS else UNSET,
        security_groups=Raw(server.groups) if server.groups != "[]" else UNSET,
        host=host if attributes else UNSET, instance_name=instance_name(server.id) if attributes else UNSET,
        hypervisor_hostname=host if attributes else UNSET, hostname=server.hostname if seen.hostname else UNSET,
        kernel_id="" if attributes else UNSET, launch_index=server.launch_index if attributes else UNSET,
        ramdisk_id="" if attributes else UNSET, reservation_id=server.reservation_id if attributes else UNSET,
        root_device_name=server.root_device if attributes else UNSET, user_data=user_data if attributes else UNSET,
        locked=server.locked, host_status=host_status(ctx, host) if seen.host_status else UNSET, description=server.description,
        tags=Raw(server.tags), trusted_image_certificates=None, server_groups=[] if seen.groups else UNSET,
        locked_reason=server.locked_reason, pinned_availability_zone=server.pinned_az, scheduler_hints=Raw(server.scheduler_hints),
    )  # fmt: skip
    if server.fault is not None and status in ("ERROR", "DELETED"):
        f = server.fault
        details = f.details if f.details and (seen.admin or f.code != 500) else UNSET
        view.fault = FaultView(f.code, iso(f.created_at), f.message, details)
    for attribute in seen.absent:
        setattr(view, attribute, UNSET)
    return view


def bare_addresses(addresses: Raw) -> Raw:
    """Without what was once an extension: the kind of an address, and its MAC."""
    return Raw(msgspec.json.encode({label: [BareAddress(a.version, a.addr) for a in found] for label, found in _addresses(addresses).items()}))


async def show_all(ctx: RequestContext, servers: list[Line]) -> list[ServerView]:
    """A page of servers in full, with what they need looked up together."""
    seen = look(ctx)
    texts: dict[str, str] = {}
    if seen.attributes and (with_data := [s.id for s in servers if s.has_user_data]):
        texts = await store.user_data_of(ctx.db, with_data)
    return [show(ctx, s, seen, texts.get(s.id)) for s in servers]


async def show_one(ctx: RequestContext, server: Line) -> ServerView:
    seen = look(ctx, one=True)
    text = await store.user_data(ctx.db, server.id) if seen.attributes and server.has_user_data else None
    view = show(ctx, server, seen, text)
    if ctx.version >= (2, 71):  # nobody comes into a group but by a hint, and few servers have any: no question for the others
        view.server_groups = await server_groups.names_of(ctx, server.id) if server_groups.HINT in server.scheduler_hints else []
    return view


_bare_flavor = lru_cache(256)(msgspec.json.Decoder(BareFlavor).decode)


@lru_cache(4096)
def _bookmark(base: str, kind: str, id: str) -> tuple[Link, ...]:
    return (Link("bookmark", f"{base}/{kind}/{id}"),)


@lru_cache(4096)
def host_id(project_id: str, host: str) -> str:
    """The host as a project may know it: the same for its own servers there, of no use to others."""
    return hashlib.sha224((project_id + host).encode()).hexdigest()


def instance_name(server_id: str) -> str:
    """The name of the domain on its host."""
    return f"moln-{server_id}"


def host_status(ctx: RequestContext, host: str | None) -> str:
    """UP, DOWN (forced), MAINTENANCE (disabled) or UNKNOWN (silent); "" without a host."""
    if host is None:
        return ""
    found = hosts.table(ctx.cloud).hosts.get(host)
    if found is None or not found.up:
        return "UNKNOWN"
    return "MAINTENANCE" if found.disabled else "UP"


def _usage(us: int | None) -> str | None:
    """Nova writes these two without a zone and with microseconds."""
    return None if us is None else f"{iso(us, suffix='')}.000000"


__all__ = ["Basic", "ServerView", "basic", "links", "look", "show", "show_all", "show_one"]
