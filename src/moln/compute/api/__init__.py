"""How compute is said: each module declares its routes when it is imported."""

from moln.compute.api import (  # noqa: F401
    aggregates,
    extensions,
    flavors,
    hosts,
    hypervisors,
    keypairs,
    proxies,
    quotas,
    server_groups,
    servers_all,
    services,
    usage,
    volumes_boot,
    zones,
)
