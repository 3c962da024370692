"""How compute is said: each module declares its routes when it is imported."""

from moln.compute.api import aggregates, extensions, flavors, hypervisors, keypairs, quotas, servers_all, services, zones  # noqa: F401
