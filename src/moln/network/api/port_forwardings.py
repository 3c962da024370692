"""/v2.0/floatingips/{id}/port_forwardings."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader
from moln.kernel.errors import Invalid
from moln.network.api import attributes as a
from moln.network.api import views
from moln.network.api.attributes import Attribute, Given, Schema, bad_value
from moln.network.api.resources import Resource, publish_children
from moln.network.api.routers import FLOATING_IPS
from moln.network.api.service import routes
from moln.network.model.routers import PortForwarding
from moln.network.ops import port_forwardings as ops
from moln.network.store import rows
from moln.network.store.port_forwardings import port_forwardings

PROTOCOLS = ("tcp", "udp", "sctp")  # those that OVN forwards


async def _views(db: Reader, ctx: RequestContext, things: list[PortForwarding]) -> views.Found:
    parents = {f.id: f for f in await rows.floating_ips.some(db, {pf.floatingip_id for pf in things})}
    return [
        ({**views.forwarding(pf), "description": pf.description}, ops.of_parent(parents[pf.floatingip_id]) | {"id": pf.id})
        for pf in things
    ]


def _protocol(value: Any, name: str) -> str:
    return str(a.one_of(*PROTOCOLS)(value.lower() if isinstance(value, str) else value, name))


def _range(value: Any, name: str) -> tuple[int, int]:
    """`FIRST:LAST`, or one port."""
    first, colon, last = value.partition(":") if isinstance(value, str) else (value, "", "")
    low = a.whole(1, 65535)(first, name)
    high = a.whole(1, 65535)(last, name) if colon else low
    if low > high:
        raise bad_value(name, f"'{value}' has its first port after its last")
    return low, high


def _one(value: Any, name: str) -> tuple[int, int]:
    port: int = a.whole(1, 65535)(value, name)
    return port, port


class _Schema(Schema):
    """A port, or a range of ports, is given on each side; not both."""

    def post(self, ctx: RequestContext, body: dict[str, Any]) -> Given:
        given = super().post(ctx, body)
        for side in ("external", "internal"):
            self._one_of(body, side)
            if given.fields.get(side) is None:
                raise Invalid(f"Failed to parse request. Required attribute '{side}_port' not specified", field=f"{side}_port")
        return given

    def put(self, body: dict[str, Any]) -> Given:
        for side in ("external", "internal"):
            self._one_of(body, side)
        given = super().put(body)
        return Given({k: v for k, v in given.fields.items() if v is not None}, given.names)

    def _one_of(self, body: dict[str, Any], side: str) -> None:
        if body.get(f"{side}_port") is not None and body.get(f"{side}_port_range") is not None:
            raise Invalid(f"Either {side}_port or {side}_port_range may be given, not both.", field=f"{side}_port_range")
        for name in (f"{side}_port", f"{side}_port_range"):
            if name in body and body[name] is None:
                del body[name]


def _ports(side: str) -> list[Attribute]:
    filter_ = a.numbers(f"{side}_first") if side == "external" else None
    return [
        Attribute(name=f"{side}_port", field=side, post=True, put=True, default=UNSET, parse=_one, filter=filter_),
        Attribute(name=f"{side}_port_range", field=side, post=True, put=True, default=UNSET, parse=_range),
    ]


PORT_FORWARDINGS = Resource(
    _Schema(
        "floatingip_port_forwarding",
        "port_forwardings",
        [
            Attribute(name="protocol", field="protocol", post=True, put=True, required=True, parse=_protocol, filter="protocol", sort=True),
            Attribute(
                name="internal_port_id", field="internal_port_id", post=True, put=True, required=True, parse=a.uuid,
                filter="internal_port_id", sort=True,
            ),
            Attribute(name="internal_ip_address", field="internal_ip_address", post=True, put=True, default=None, parse=a.address),
            *_ports("external"),
            *_ports("internal"),
            Attribute(name="description", field="description", post=True, put=True, default="", parse=a.text_or_none()),
        ],
        standard=False,
        single="port_forwarding",
    ),
    "port_forwardings",
    port_forwardings,
    _views,
    create=ops.create_in,
    update=ops.update_in,
    delete=ops.delete_in,
)  # fmt: skip

publish_children(routes, FLOATING_IPS, PORT_FORWARDINGS, "floatingip_id")
