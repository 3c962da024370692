"""The network API as a service: prefix, faults, and the routes all files of this folder add to."""

from __future__ import annotations

from moln.kernel.http import Routes, Service
from moln.network.api.faults import STATUSES, fault

SERVICE = Service("network", "/network", fault=fault, statuses=STATUSES, root="/v2.0")
routes = Routes(SERVICE)
