"""Compute as a service: where it is mounted, and the object that its operations are declared on."""

from __future__ import annotations

from moln.compute.api.faults import fault
from moln.compute.api.versions import MAX_VERSION, MIN_VERSION, list_versions, show_legacy_version, show_version, show_version_by_id
from moln.kernel.http import Routes, Service

SERVICE = Service(
    "compute", "/compute", fault=fault, header="compute", legacy_header="X-OpenStack-Nova-API-Version",
    min_version=MIN_VERSION, max_version=MAX_VERSION, project_in_path=True, root="/v2.1",
    request_id_header="x-compute-request-id", exact=True,
)  # fmt: skip
routes = Routes(SERVICE)
routes.get("/", public=True)(list_versions)
routes.get("/v2/", public=True)(show_legacy_version)
routes.get("/v2.1/", public=True)(show_version)
routes.get("/v2.1/versions/{id}")(show_version_by_id)
