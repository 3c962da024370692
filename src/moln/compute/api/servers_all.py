"""Every operation on servers, declared by one import."""

from moln.compute.api import (
    consoles,
    instance_actions,
    rescue,
    server_actions,
    server_devices,
    server_guests,
    server_parts,
    servers,
    shelving,
    suspension,
)

__all__ = [
    "consoles", "instance_actions", "rescue", "server_actions", "server_devices", "server_guests", "server_parts", "servers", "shelving",
    "suspension",
]  # fmt: skip
