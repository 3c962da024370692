"""Flavors of services, and the providers behind them (network v2.0 api-ref, "Networking Flavors Framework")."""

from __future__ import annotations

from msgspec import Struct

L3 = "L3_ROUTER_NAT"
DRIVER = "moln.network.drivers.ovn"


class Provider(Struct, frozen=True):
    """Who provides a service."""

    service_type: str
    name: str
    driver: str
    default: bool = True


PROVIDERS = (Provider(L3, "ovn", DRIVER),)


class Flavor(Struct, frozen=True, kw_only=True):
    """A name for how a service is to be provided. service_profiles: ids, in the order they were joined."""

    id: str
    project_id: str = ""
    name: str = ""
    description: str = ""
    service_type: str
    enabled: bool = True
    service_profiles: tuple[str, ...] = ()
    created_at: int = 0
    updated_at: int = 0
    revision_number: int = 1


class ServiceProfile(Struct, frozen=True, kw_only=True):
    """A provider's driver and what it is told."""

    id: str
    project_id: str = ""
    description: str = ""
    driver: str = ""
    metainfo: str = ""
    enabled: bool = True
    created_at: int = 0
    updated_at: int = 0
    revision_number: int = 1
