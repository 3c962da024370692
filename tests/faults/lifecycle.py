"""What is done to a server that exists, while the controller dies: suspended, rescued, shelved, and back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.faults.scenes import Controller, Scene, ctx_of, running, the_server

from moln.compute.ops import power, rescue, shelving, suspension


def asks(action: power.Action) -> Callable[[Controller], Awaitable[None]]:
    async def act(app: Controller) -> None:
        await power.ask(ctx_of(app), (await the_server(app)).id, action)

    return act


def after(prepare: Callable[[Controller], Awaitable[None]], act: Callable[[Controller], Awaitable[None]]) -> Callable[[Controller], Awaitable[None]]:
    """A beginning in which something was done already."""

    async def both(app: Controller) -> None:
        await prepare(app)
        await app.workers.settle()
        await act(app)
        await app.workers.settle()

    return both


async def do_rescue(app: Controller) -> None:
    server = await the_server(app)
    await rescue.rescue(ctx_of(app), server.id, image_ref=None, password="a-Secret-1", volume_backed=True)


async def shelve(app: Controller) -> None:
    await shelving.shelve(ctx_of(app), (await the_server(app)).id)


async def unshelve(app: Controller) -> None:
    await shelving.unshelve(ctx_of(app), (await the_server(app)).id, shelving.Place())


suspend, resume, unrescue = asks(suspension.SUSPEND), asks(suspension.RESUME), asks(rescue.UNRESCUE)
SCENES = (
    Scene("suspend", running, suspend), Scene("resume", after(running, suspend), resume), Scene("rescue", running, do_rescue),
    Scene("unrescue", after(running, do_rescue), unrescue), Scene("shelve", running, shelve), Scene("unshelve", after(running, shelve), unshelve),
)  # fmt: skip
BY_NAME = {s.name: s for s in SCENES}
