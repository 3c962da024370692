"""/v3/qos-specs (block-storage v3 api-ref, "Quality of service (QoS) specifications")."""

from __future__ import annotations

from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Params, Routes
from moln.volume.api.bodies import metadata, page, text, truth
from moln.volume.api.faults import SERVICE
from moln.volume.api.views import links, next_links
from moln.volume.model.qos_specs import CONSUMERS, QosSpecs
from moln.volume.ops import qos_specs as ops

routes = Routes(SERVICE)
SORT_KEYS = {k: k for k in ("id", "name", "created_at", "updated_at", "consumer")}
ONE = "/v3/qos-specs/{qos_id}"


def _view(of: QosSpecs) -> dict[str, Any]:
    return {"id": of.id, "name": of.name, "consumer": of.consumer, "specs": of.specs}


def _whole(ctx: RequestContext, of: QosSpecs) -> dict[str, Any]:
    return {"qos_specs": _view(of), "links": links(ctx, "qos-specs", of.id)}


def _inner(body: dict[str, Any]) -> dict[str, Any]:
    """Raises: Invalid."""
    if list(body) != ["qos_specs"] or not isinstance(body["qos_specs"], dict):
        raise Invalid("'qos_specs' is a required property, and the only one.", field="qos_specs")
    return dict(body["qos_specs"])


def _consumer(value: Any) -> str:
    if value not in CONSUMERS:
        raise Invalid(f"Invalid input for field/attribute consumer. It is one of {', '.join(CONSUMERS)}.", field="consumer")
    return str(value)


@routes.get("/v3/qos-specs")
async def list_qos_specs(ctx: RequestContext, query: Params) -> dict[str, Any]:
    asked = page(ctx, query, SORT_KEYS)
    found = await ops.index(ctx, sort=asked.sort, marker=asked.marker, limit=asked.limit + asked.offset) if asked.limit else []
    found = found[asked.offset :]
    return {"qos_specs": [_view(q) for q in found]} | next_links(ctx, query, asked, "qos-specs", found, "qos_specs_links")


@routes.post("/v3/qos-specs")
async def create_qos_specs(ctx: RequestContext, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    given = _inner(body)
    name = given.pop("name", None)
    name = text(name, "name") if isinstance(name, str) else None
    if not name:
        raise Invalid("Invalid input for field/attribute name. It is a string of 1 to 255 characters.", field="name")
    consumer = _consumer(given.pop("consumer", "back-end"))
    return _whole(ctx, await ops.create(ctx, name, consumer, metadata(given)))


@routes.get(ONE)
async def show_qos_specs(ctx: RequestContext, qos_id: str) -> dict[str, Any]:
    return _whole(ctx, await ops.show(ctx, qos_id))


@routes.put(ONE)
async def update_qos_specs(ctx: RequestContext, qos_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    given = _inner(body)
    if not given:
        raise Invalid("At least one key is needed.", field="qos_specs")
    rest = {k: v for k, v in given.items() if k != "consumer"}
    await ops.update(ctx, qos_id, _consumer(given["consumer"]) if "consumer" in given else None, metadata(rest))
    return {"qos_specs": given}


@routes.delete(ONE, status=202)
async def delete_qos_specs(ctx: RequestContext, qos_id: str, query: Params) -> None:
    await ops.delete(ctx, qos_id, force=truth(query.get("force", [None])[-1], "force"))


@routes.put(ONE + "/delete_keys", status=202)
async def delete_qos_specs_keys(ctx: RequestContext, qos_id: str, body: dict) -> None:  # type: ignore[type-arg]
    keys = body.get("keys")
    if list(body) != ["keys"] or not isinstance(keys, list) or not keys or not all(isinstance(k, str) for k in keys):
        raise Invalid("'keys' is a list of the keys to delete.", field="keys")
    await ops.delete_keys(ctx, qos_id, keys)


@routes.get(ONE + "/associations")
async def list_qos_associations(ctx: RequestContext, qos_id: str) -> dict[str, Any]:
    found = await ops.associations(ctx, qos_id)
    return {"qos_associations": [{"association_type": "volume_type", "name": t.name, "id": t.id} for t in found]}


def _type(query: Params) -> str:
    found = query.get("vol_type_id", [""])[-1]
    if not found:
        raise Invalid("Volume Type id must not be None.", field="vol_type_id")
    return found


@routes.get(ONE + "/associate", status=202)
async def associate_qos_specs(ctx: RequestContext, qos_id: str, query: Params) -> None:
    await ops.associate(ctx, qos_id, _type(query), wanted=True)


@routes.get(ONE + "/disassociate", status=202)
async def disassociate_qos_specs(ctx: RequestContext, qos_id: str, query: Params) -> None:
    await ops.associate(ctx, qos_id, _type(query), wanted=False)


@routes.get(ONE + "/disassociate_all", status=202)
async def disassociate_all_qos_specs(ctx: RequestContext, qos_id: str) -> None:
    await ops.disassociate_all(ctx, qos_id)
