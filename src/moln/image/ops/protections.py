"""Properties that not everybody may see or change."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from moln.image.model.images import Image
from moln.image.model.protections import Protections
from moln.kernel.context import RequestContext
from moln.kernel.errors import Forbidden, NotFound


def of(ctx: RequestContext) -> Protections:
    """Those that module.py made of the settings."""
    found: Protections = ctx.cloud.areas["image-protections"]
    return found


def shown(ctx: RequestContext, image: Image) -> Image:
    """The image without the properties that the caller may not read."""
    rules = of(ctx)
    if not rules:
        return image
    return replace(image, properties={name: value for name, value in image.properties.items() if rules.allows(name, "read", ctx.roles)})


def check_create(ctx: RequestContext, properties: Mapping[str, str]) -> None:
    """Raises: Forbidden."""
    rules = of(ctx)
    if not rules:
        return
    for name in properties:
        if not rules.allows(name, "create", ctx.roles):
            raise Forbidden(f"Property '{name}' is protected")


def check_change(ctx: RequestContext, image: Image, name: str, op: str) -> None:
    """A step of a PATCH. Raises: Forbidden; NotFound, for what the caller may not know of."""
    rules = of(ctx)
    if not rules:
        return
    deed = "delete" if op == "remove" else "update" if name in image.properties else "create"
    if name in image.properties and not rules.allows(name, "read", ctx.roles):
        raise NotFound(f"Property {name} does not exist.")
    if not rules.allows(name, deed, ctx.roles):
        raise Forbidden(f"Property '{name}' is protected")
