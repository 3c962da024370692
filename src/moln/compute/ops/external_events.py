"""What others tell of servers (compute api-ref, "Run Events"). Nearly all of it this cloud knows by itself; a look again costs nothing."""

from __future__ import annotations

from msgspec import Struct

from moln.compute.store import servers as store
from moln.kernel.context import RequestContext
from moln.kernel.errors import NotFound

RULE = "os_compute_api:os-server-external-events:create"


class Event(Struct, frozen=True):
    """tag: a port, a volume, or what else the event is about."""

    name: str
    server_id: str
    tag: str | None


async def tell(ctx: RequestContext, events: list[Event]) -> list[int]:
    """What became of each, as a status code. Raises: Forbidden; NotFound, when no event is of a server with a host."""
    known = {s.id: s for s in await store.some(ctx.db, sorted({e.server_id for e in events}))}
    codes = []
    for event in events:
        server = known.get(event.server_id)
        if server is None:
            codes.append(404)
        elif server.host is None:
            codes.append(422)
        elif event.name == "accelerator-request-bound" and not event.tag:
            codes.append(400)
        else:
            codes.append(200)
            _act(ctx, event)
    if 200 not in codes:
        raise NotFound("No instances found for any event")
    return codes


def _act(ctx: RequestContext, event: Event) -> None:
    """Whoever follows ports looks again; a guest is told its volume's size again. Power and accelerators: the hypervisor is asked anyhow, and there are none."""
    if event.name.startswith("network-"):
        ctx.db.feed.publish([("port-devices", event.server_id)])
    elif event.name in ("volume-extended", "volume-reimaged") and event.tag:
        ctx.db.feed.publish([("volume-extended", event.tag)])
