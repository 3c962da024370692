"""Servers that change their host while the controller dies."""

from __future__ import annotations

from tests.faults.scenes import Controller, Scene, ctx_of, growable, running, the_server

from moln.compute.model.servers import VmState
from moln.compute.ops import evacuate as evacuation
from moln.compute.ops import live_migration, resize, servers, services
from moln.compute.ops.live_migration import LiveRequest
from moln.compute.store import migrations
from moln.kernel.link import InProcessLinks


async def migrate(app: Controller) -> None:
    await resize.migrate(ctx_of(app), (await the_server(app)).id, None)


async def migrated(app: Controller) -> None:
    """A server on another host, which waits to be confirmed or reverted."""
    await running(app)
    await app.workers.settle()
    await migrate(app)
    await app.workers.settle()
    assert (await the_server(app)).vm_state is VmState.RESIZED


async def confirm(app: Controller) -> None:
    await resize.confirm(ctx_of(app), (await the_server(app)).id)


async def revert(app: Controller) -> None:
    await resize.revert(ctx_of(app), (await the_server(app)).id)


async def delete(app: Controller) -> None:
    await servers.delete(ctx_of(app), (await the_server(app)).id)


async def crowded(app: Controller) -> None:
    """A server whose host is taken out of service: a resize finds another."""
    await growable(app)
    await app.workers.settle()
    ctx = ctx_of(app)
    await services.update(ctx, await services.named(ctx, (await the_server(app)).host or ""), disabled=True, reason=None, forced_down=None)


async def grow(app: Controller) -> None:
    await resize.resize(ctx_of(app), (await the_server(app)).id, "big")
    assert (await the_server(app)).other_host is not None


async def migrate_live(app: Controller) -> None:
    await live_migration.migrate(ctx_of(app), (await the_server(app)).id, LiveRequest())
    await app.workers.settle()  # begun; whoever called lets it end


async def migrating(app: Controller) -> None:
    """Under way, and without an end, until the hosts begin anew."""
    server = await the_server(app)
    app.nodes[server.host or ""].busy.add(server.id)
    await migrate_live(app)


async def abort(app: Controller) -> None:
    await migrating(app)
    ctx, server = ctx_of(app), await the_server(app)
    (migration,) = await migrations.live_of(app.cloud.db, server.id)
    await live_migration.abort(ctx, server.id, migration.rowid, early=True)


async def delete_migrating(app: Controller) -> None:
    await migrating(app)
    await delete(app)


async def force_down(app: Controller) -> None:
    ctx = ctx_of(app)
    host = await services.named(ctx, (await the_server(app)).host or "")
    await services.update(ctx, host, disabled=None, reason=None, forced_down=True)


async def fenced(app: Controller) -> None:
    """A server whose host is lost, but not the host that holds its volume: it moved once."""
    await migrated(app)
    await confirm(app)
    await app.workers.settle()
    await force_down(app)


async def evacuate(app: Controller) -> None:
    """The host is lost; when the controller is started again it is back."""
    server = await the_server(app)
    assert isinstance(app.cloud.links, InProcessLinks)
    if server.host in app.cloud.links.nodes:
        await app.cloud.links.leave(server.host)
    await evacuation.evacuate(ctx_of(app), server.id, host=None, forced=False, off=False)


async def evacuate_alive(app: Controller) -> None:
    """The host is said to be down, and answers."""
    await evacuation.evacuate(ctx_of(app), (await the_server(app)).id, host=None, forced=False, off=False)


SCENES = (
    Scene("migrate", running, migrate, 2), Scene("migrate-confirm", migrated, confirm, 2), Scene("migrate-revert", migrated, revert, 2),
    Scene("delete-migrated", migrated, delete, 2), Scene("resize-elsewhere", crowded, grow, 2), Scene("live-migrate", running, migrate_live, 2),
    Scene("live-abort", running, abort, 2), Scene("delete-migrating", running, delete_migrating, 2), Scene("evacuate", fenced, evacuate, 2),
    Scene("evacuate-alive", fenced, evacuate_alive, 2),
)  # fmt: skip
BY_NAME = {s.name: s for s in SCENES}
