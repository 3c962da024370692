"""Services, endpoints and regions (identity v3 api-ref, "Service catalog and endpoints" and "Regions")."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct

INTERFACES = ("public", "internal", "admin")
_PLACE = re.compile(r"[%$]\((\w+)\)s")
_PLACES = frozenset({"project_id", "tenant_id", "user_id"})


class Service(Struct, frozen=True):
    """A kind of API that the cloud has. extra: name and description among others."""

    id: str
    type: str
    name: str = ""
    description: str | None = None
    enabled: bool = True
    extra: dict[str, Any] = {}


class Endpoint(Struct, frozen=True):
    """Where a service answers. url: may hold %(project_id)s, %(tenant_id)s and %(user_id)s, with % or $."""

    id: str
    service_id: str
    interface: str
    url: str
    region_id: str | None = None
    enabled: bool = True
    extra: dict[str, Any] = {}


class Region(Struct, frozen=True):
    """A place, perhaps inside another."""

    id: str
    description: str = ""
    parent_region_id: str | None = None
    extra: dict[str, Any] = {}


def is_template(url: str) -> bool:
    return _PLACE.search(url) is not None


def url_is_sound(url: str) -> bool:
    """Whether only known names are to be filled in, and nothing else looks like a place to fill."""
    if set(_PLACE.findall(url)) - _PLACES:
        return False
    rest = _PLACE.sub("", url)
    return "%(" not in rest and "$(" not in rest


def fill(url: str, *, project_id: str | None, user_id: str) -> str | None:
    """The address for one caller; None, when it needs a project and there is none."""
    values = {"user_id": user_id}
    if project_id:
        values |= {"project_id": project_id, "tenant_id": project_id}
    if any(name not in values for name in _PLACE.findall(url)):
        return None
    return _PLACE.sub(lambda found: values[found[1]], url)


class CatalogEndpoint(Struct, frozen=True):
    """An endpoint as a token's catalogue says it."""

    id: str
    interface: str
    region_id: str | None
    url: str
    region: str | None


class CatalogEntry(Struct, frozen=True):
    """A service as a token's catalogue says it."""

    endpoints: list[CatalogEndpoint]
    id: str
    type: str
    name: str
