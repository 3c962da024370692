"""/os-volumes_boot (until 2.102): /servers under another name, from the days when booting from a volume was an extension."""

from __future__ import annotations

from moln.compute.api import servers_all
from moln.compute.api.routes import routes

OLD, UNTIL = "/v2.1/os-volumes_boot", (2, 102)
SERVERS = "/v2.1/servers"
SAME = (SERVERS, SERVERS + "/detail", SERVERS + "/{server_id}", SERVERS + "/{server_id}/action")


def _declare() -> None:
    for route in list(routes.all):
        if route.path in SAME and route.since <= UNTIL:
            routes.alias(route, OLD + route.path.removeprefix(SERVERS), until=UNTIL)


assert servers_all  # all of them are declared by now
_declare()
