"""/v2.0/segments and /v2.0/network_segment_ranges."""

from __future__ import annotations

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader
from moln.network.api import attributes as a
from moln.network.api import views
from moln.network.api.attributes import NAME, Attribute, Schema
from moln.network.api.networks import TAGS
from moln.network.api.resources import Resource, publish
from moln.network.api.service import routes
from moln.network.model.segments import HIGHEST_VNI, Segment, SegmentRange
from moln.network.ops import authority, segment_ranges
from moln.network.ops import segments as ops
from moln.network.store import rows
from moln.network.store import segments as store

PLACE = ("network_type", "physical_network", "segmentation_id")


async def _segments(db: Reader, ctx: RequestContext, things: list[Segment]) -> views.Found:
    found: views.Found = []
    for s in things:
        view = {k: v for k, v in views.standard(s).items() if k not in ("project_id", "tenant_id")}
        found.append(({**view, "name": s.name, "network_id": s.network_id, **{k: getattr(s, k) for k in PLACE}}, authority.of_project("", id=s.id)))
    return found


def _kind(*kinds: str) -> Attribute:
    return Attribute(
        name="network_type", field="network_type", post=True, required=True, parse=a.one_of(*kinds), filter="network_type", sort=True
    )


PHYSICAL = Attribute(
    name="physical_network", field="physical_network", post=True, default=None, parse=a.optional(a.text(64)), filter="physical_network", sort=True
)
SEGMENTS = Resource(
    Schema(
        "segment",
        "segments",
        [
            Attribute(name="name", field="name", post=True, put=True, default="", parse=a.text_or_none(), filter="name", sort=True),
            Attribute(name="network_id", field="network_id", post=True, required=True, parse=a.uuid, filter="network_id", sort=True),
            _kind("geneve", "vlan", "flat"),
            PHYSICAL,
            Attribute(
                name="segmentation_id", field="segmentation_id", post=True, default=None, parse=a.optional(a.whole(1, HIGHEST_VNI)),
                filter=a.numbers("segmentation_id"), sort=True,
            ),
        ],
    ),
    "segments",
    store.segments,
    _segments,
    create=ops.create_in,
    update=ops.update_in,
    delete=ops.delete_in,
)  # fmt: skip
publish(routes, SEGMENTS)


async def _ranges(db: Reader, ctx: RequestContext, things: list[SegmentRange]) -> views.Found:
    tags = await rows.tags_of(db, [r.id for r in things])
    found: views.Found = []
    for r in things:
        used, available = await segment_ranges.use_of(db, r)
        view = {
            **views.standard(r, tags),
            "project_id": r.project_id or None,
            "tenant_id": r.project_id or None,
            **{name: getattr(r, name) for name in ("name", "default", "shared", "network_type", "physical_network", "minimum", "maximum")},
            "used": used,
            "available": available,
        }
        found.append((view, authority.of_project(r.project_id, id=r.id)))
    return found


def _end(name: str) -> Attribute:
    return Attribute(
        name=name, field=name, post=True, put=True, required=True, parse=a.whole(1, HIGHEST_VNI), filter=a.numbers(name), sort=True
    )


RANGES = Resource(
    Schema(
        "network_segment_range",
        "network_segment_ranges",
        [
            NAME,
            TAGS,
            Attribute(name="default", filter=a.truths("default"), field="default", sort=True),
            Attribute(name="shared", field="shared", post=True, default=True, parse=a.boolean, filter=a.truths("shared"), sort=True),
            _kind("geneve", "vlan"),
            PHYSICAL,
            _end("minimum"),
            _end("maximum"),
            Attribute(name="used"),
            Attribute(name="available"),
        ],
    ),
    "network_segment_ranges",
    store.ranges,
    _ranges,
    create=segment_ranges.create_in,
    update=segment_ranges.update_in,
    delete=segment_ranges.delete_in,
)
publish(routes, RANGES)
publish(routes, RANGES, "network-segment-ranges")  # the services' own name of it; the api-ref has the other
