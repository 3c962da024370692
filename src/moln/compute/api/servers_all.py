"""Every operation on servers, declared by one import."""

from moln.compute.api import (
    consoles,
    external_events,
    instance_actions,
    migrations,
    rescue,
    server_actions,
    server_devices,
    server_guests,
    server_moves,
    server_parts,
    server_rebuilds,
    servers,
    shelving,
    suspension,
)

__all__ = [
    "consoles", "external_events", "instance_actions", "migrations", "rescue", "server_actions", "server_devices", "server_guests", "server_moves",
    "server_parts", "server_rebuilds", "servers", "shelving", "suspension",
]  # fmt: skip
