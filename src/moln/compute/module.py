"""Compute as app.py takes it."""

from __future__ import annotations

from moln.compute import api
from moln.compute.api.routes import routes
from moln.compute.ops import hosts, measures
from moln.compute.work.servers import ServersWork
from moln.kernel.cloud import Cloud
from moln.kernel.config import Settings
from moln.kernel.http.schemas import Described
from moln.kernel.module import Module


def module(settings: Settings) -> Module:
    servers = ServersWork()

    async def setup(cloud: Cloud) -> None:
        await hosts.set_up(cloud)
        await servers.setup(cloud)

    return Module("compute", (routes,), servers.reconcilers, servers.periodics, servers.invariants, setup, hosts.close,
                  measure=measures.families, describe=_describe)  # fmt: skip


__all__ = ["api", "module"]


def _describe() -> Described:
    from moln.compute.api.description import described

    return described()
