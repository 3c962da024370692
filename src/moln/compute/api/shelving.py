"""shelve, shelveOffload and unshelve; where an unshelved server is to go (2.77, 2.91)."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from moln.compute.api.server_actions import action
from moln.compute.api.server_bodies import given
from moln.compute.ops import shelving
from moln.compute.ops.shelving import Place
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Body, since

Name = Annotated[str, Meta(min_length=1, max_length=255)]


@action("shelve")
async def shelve(ctx: RequestContext, server_id: str) -> None:
    await shelving.shelve(ctx, server_id)


@action("shelveOffload")
async def shelve_offload(ctx: RequestContext, server_id: str) -> None:
    await shelving.offload(ctx, server_id)


class UnshelveOptions(Body):
    availability_zone: Name | None | UnsetType = UNSET
    host: Annotated[Name | UnsetType, since("2.91")] = UNSET


class Unshelve(Body):
    unshelve: UnshelveOptions | None


@action("unshelve")
async def unshelve(ctx: RequestContext, server_id: str, body: bytes) -> None:
    """Before 2.77 whatever stands there means nothing."""
    asked = Unshelve.parse(body, ctx.version).unshelve if ctx.at_least(2, 77) else None
    if asked is None:
        await shelving.unshelve(ctx, server_id, Place())
        return
    if not ctx.at_least(2, 91) and not given(asked.availability_zone):
        raise Invalid("Invalid input for field/attribute unshelve. 'availability_zone' is a required property", field="availability_zone")
    named = asked.availability_zone is not UNSET
    await shelving.unshelve(ctx, server_id, Place(given(asked.availability_zone), named, given(asked.host)))
