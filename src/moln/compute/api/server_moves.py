"""What moves a server to another host: migrate, os-migrateLive, evacuate."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from moln.compute.api.server_actions import action
from moln.compute.api.server_bodies import Truth, given, truth
from moln.compute.ops import create, live_migration, resize
from moln.compute.ops import evacuate as evacuation
from moln.compute.ops.live_migration import LiveRequest
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Body, Reply, since, until

Name = Annotated[str, Meta(min_length=1, max_length=255)]
AUTO = "auto"


class MigrateOptions(Body):
    host: Name | None | UnsetType = UNSET


class Migrate(Body):
    migrate: MigrateOptions | None


@action("migrate")
async def migrate(ctx: RequestContext, server_id: str, body: bytes) -> None:
    """Before 2.56 whatever stands there means nothing."""
    asked = Migrate.parse(body, ctx.version).migrate if ctx.at_least(2, 56) else None
    await resize.migrate(ctx, server_id, None if asked is None else given(asked.host))


class Live(Body, root="os-migrateLive"):
    host: Name | None
    block_migration: Truth
    disk_over_commit: Annotated[Truth | UnsetType, until("2.24")] = UNSET
    force: Annotated[Truth | UnsetType, since("2.30"), until("2.67")] = UNSET


@action("os-migrateLive")
async def migrate_live(ctx: RequestContext, server_id: str, body: Live) -> None:
    """disk_over_commit is heeded nowhere: a host's room is what placement says. What Nova checked before it answered until 2.34 is 400 until then."""
    if not ctx.at_least(2, 25):
        if given(body.disk_over_commit) is None:
            raise Invalid("Invalid input for field/attribute os-migrateLive. 'disk_over_commit' is a required property", field="disk_over_commit")
        if body.block_migration == AUTO:
            raise Invalid("Invalid input for field/attribute block_migration. Value: auto. 'auto' is not of type 'boolean'", field="block_migration")
    forced = truth(given(body.force, False), "force")
    _check_forced(forced, body.host)
    with_disks = None if body.block_migration == AUTO else truth(body.block_migration, "block_migration")
    await live_migration.migrate(ctx, server_id, LiveRequest(body.host, forced, with_disks, late=ctx.at_least(2, 34)))


def _check_forced(forced: bool, host: str | None) -> None:
    """Raises: Invalid."""
    if forced and not host:
        raise Invalid("Can't force to a non-provided destination", field="force")


class Evacuate(Body, root="evacuate"):
    host: Name | UnsetType = UNSET
    onSharedStorage: Annotated[Truth | UnsetType, until("2.13")] = UNSET
    adminPass: str | UnsetType = UNSET
    force: Annotated[Truth | UnsetType, since("2.29"), until("2.67")] = UNSET


@action("evacuate", 200)
async def evacuate(ctx: RequestContext, server_id: str, body: Evacuate) -> Reply:
    """Before 2.14 the answer tells the password. Whether storage is shared is found out, whatever the caller thinks."""
    if not ctx.at_least(2, 14):
        if given(body.onSharedStorage) is None:
            raise Invalid("Invalid input for field/attribute evacuate. 'onSharedStorage' is a required property", field="onSharedStorage")
        if truth(given(body.onSharedStorage), "onSharedStorage") and given(body.adminPass):
            raise Invalid("admin password can't be changed on existing disk", field="adminPass")
    forced, host = truth(given(body.force, False), "force"), given(body.host)
    _check_forced(forced, host)
    await evacuation.evacuate(ctx, server_id, host=host, forced=forced, off=ctx.at_least(2, 95))
    return Reply(None if ctx.at_least(2, 14) else {"adminPass": given(body.adminPass) or create.password(ctx)})
