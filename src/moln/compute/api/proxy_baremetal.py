"""/os-baremetal-nodes (until 2.35): there is no bare metal service, and Nova says so in these words."""

from __future__ import annotations

from moln.compute.api.routes import routes
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid, NotSupported

PATH, UNTIL = "/v2.1/os-baremetal-nodes", "2.35"
P = "os_compute_api:os-baremetal-nodes"
UNAVAILABLE = "Ironic client unavailable, cannot access Ironic."


@routes.get(PATH, until=UNTIL)
async def list_nodes(ctx: RequestContext) -> None:
    ctx.require("compute", f"{P}:list", {})
    raise NotSupported(UNAVAILABLE)


@routes.get(PATH + "/{node_id}", until=UNTIL)
async def show_node(ctx: RequestContext, node_id: str) -> None:
    ctx.require("compute", f"{P}:show", {})
    raise NotSupported(UNAVAILABLE)


def _refused(command: str) -> Invalid:
    return Invalid(f"Command Not supported. Please use Ironic command {command} to perform this action.")


@routes.post(PATH, status=201, until=UNTIL)
async def create_node(ctx: RequestContext) -> None:
    raise _refused("port-create")


@routes.delete(PATH + "/{node_id}", until=UNTIL)
async def delete_node(ctx: RequestContext, node_id: str) -> None:
    raise _refused("port-create")


@routes.post(PATH + "/{node_id}/action", status=202, action="add_interface", until=UNTIL)
async def add_interface(ctx: RequestContext, node_id: str) -> None:
    raise _refused("port-create")


@routes.post(PATH + "/{node_id}/action", status=202, action="remove_interface", until=UNTIL)
async def remove_interface(ctx: RequestContext, node_id: str) -> None:
    raise _refused("port-delete")
