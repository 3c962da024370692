"""/v3/types/{id}/encryption, and what a volume has of it (block-storage v3 api-ref, "Volume types")."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid, NotFound
from moln.kernel.http import Routes
from moln.volume.api.bodies import parse, text
from moln.volume.api.faults import SERVICE
from moln.volume.model.encryptions import LOCATIONS, Encryption
from moln.volume.ops import encryptions as ops
from moln.volume.ops import volumes

routes = Routes(SERVICE)
OF_TYPE = "/v3/types/{type_id}/encryption"
MAX_BITS = (1 << 31) - 1


class EncryptionBody(Struct, kw_only=True):
    """`encryption` of POST and PUT."""

    provider: str | UnsetType = UNSET
    control_location: str | UnsetType = UNSET
    cipher: str | UnsetType | None = UNSET
    key_size: int | UnsetType | None = UNSET


def _given(ctx: RequestContext, body: dict[str, Any]) -> dict[str, Any]:
    """Raises: Invalid."""
    asked = parse(ctx, body, "encryption", EncryptionBody, always=True)
    given = {name: value for name in asked.__struct_fields__ if (value := getattr(asked, name)) is not UNSET}
    for name in ("provider", "cipher"):
        if given.get(name) is not None and not text(given[name], name):
            raise Invalid(f"Invalid input for field/attribute {name}. It is a string of 1 to 255 characters.", field=name)
    if "control_location" in given and given["control_location"] not in LOCATIONS:
        raise Invalid("Invalid input for field/attribute control_location. It is front-end or back-end.", field="control_location")
    if given.get("key_size") is not None and not 0 <= given["key_size"] <= MAX_BITS:
        raise Invalid("Invalid input for field/attribute key_size. It is an integer of 0 or more.", field="key_size")
    return given


@routes.get(OF_TYPE)
async def show_type_encryption(ctx: RequestContext, type_id: str) -> dict[str, Any]:
    found = await ops.show(ctx, type_id)
    return _whole(found) if found else {}


def _whole(of: Encryption) -> dict[str, Any]:
    return {
        "volume_type_id": of.volume_type_id, "encryption_id": of.id, "provider": of.provider, "cipher": of.cipher,
        "key_size": of.key_size, "control_location": of.control_location, "deleted": False, "created_at": iso_micro(of.created_at),
        "updated_at": iso_micro(of.updated_at) if of.updated_at else None, "deleted_at": None,
    }  # fmt: skip


@routes.get(OF_TYPE + "/{key}")
async def show_type_encryption_item(ctx: RequestContext, type_id: str, key: str) -> dict[str, Any]:
    found = await ops.show(ctx, type_id)
    whole = _whole(found) if found else {}
    if key not in whole:
        raise NotFound(f"Volume type encryption for type {type_id} does not exist." if found is None else "The resource could not be found.")
    return {key: whole[key]}


@routes.post(OF_TYPE)
async def create_type_encryption(ctx: RequestContext, type_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    given = _given(ctx, body)
    for name in ("provider", "control_location"):
        if name not in given:
            raise Invalid(f"'{name}' is a required property", field=name)
    made = await ops.create(ctx, type_id, **{"cipher": None, "key_size": None} | given)
    shown = ("volume_type_id", "encryption_id", "provider", "cipher", "key_size", "control_location")
    return {"encryption": {name: value for name, value in _whole(made).items() if name in shown}}


@routes.put(OF_TYPE + "/{encryption_id}")
async def update_type_encryption(ctx: RequestContext, type_id: str, encryption_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    given = _given(ctx, body)
    await ops.update(ctx, type_id, encryption_id, **given)
    return {"encryption": given}


@routes.delete(OF_TYPE + "/{encryption_id}", status=202)
async def delete_type_encryption(ctx: RequestContext, type_id: str, encryption_id: str) -> None:
    await ops.delete(ctx, type_id)


@routes.get("/v3/volumes/{volume_id}/encryption")
async def show_volume_encryption(ctx: RequestContext, volume_id: str) -> dict[str, Any]:
    """A volume has none: types with encryption make none."""
    ctx.require("volume", "volume_extension:volume_encryption_metadata", await volumes.show(ctx, volume_id))
    return {"encryption_key_id": None}


@routes.get("/v3/volumes/{volume_id}/encryption/{key}")
async def show_volume_encryption_item(ctx: RequestContext, volume_id: str, key: str) -> dict[str, Any]:
    ctx.require("volume", "volume_extension:volume_encryption_metadata", await volumes.show(ctx, volume_id))
    if key != "encryption_key_id":
        raise NotFound("The resource could not be found.")
    return {key: None}
