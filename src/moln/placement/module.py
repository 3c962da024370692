"""Placement as app.py takes it."""

from __future__ import annotations

from typing import Any

from moln.kernel.cloud import Cloud
from moln.kernel.http.schemas import Described
from moln.kernel.module import Invariant, Module, Violation
from moln.placement.api import allocations, candidates, explain, inventories, names, providers, reshape, versions  # noqa: F401 (they declare routes)
from moln.placement.api.routes import routes
from moln.placement.ops.audit import check_consumers, check_counters


async def _counters(cloud: Cloud) -> list[Violation]:
    mend = "Report a bug; the provider's servers show what it holds."
    return [Violation(text, mend) for text in await cloud.db.read(check_counters)]


async def _consumers(cloud: Cloud) -> list[Violation]:
    return [Violation(text, "DELETE /placement/allocations/{consumer}") for text in await cloud.db.read(check_consumers)]


def module(settings: Any) -> Module:
    return Module(
        "placement", (routes,),
        invariants=(
            Invariant("what providers count as used is the sum of their allocations", _counters),
            Invariant("every allocation has a consumer, and every consumer an allocation", _consumers),
        ),
        describe=_describe,
    )  # fmt: skip


def _describe() -> Described:
    from moln.placement.api.description import described

    return described()
