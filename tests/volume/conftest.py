"""Cinder and Glance over HTTP, with fake pools on nodes behind real frames."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from msgspec import field
from tests.wire.areas import AreaApi, areas

import moln.image.module as image
import moln.volume.module as volume
from moln.image.settings import ImageSettings
from moln.kernel import config
from moln.kernel.clock import Clock
from moln.kernel.link import InProcessLinks, MemoryFences, Verbs
from moln.volume.drivers.base import VolumeDriver
from moln.volume.drivers.fake import FakeVolumes
from moln.volume.settings import VolumeSettings


class Settings(config.Settings, frozen=True):
    image: ImageSettings = field(default_factory=ImageSettings)
    volume: VolumeSettings = field(default_factory=VolumeSettings)


class CinderApi(AreaApi):
    """With the pool of the one node, `node-1`."""

    pool: FakeVolumes


@pytest.fixture
async def cinder(tmp_path: Path, database: str) -> AsyncIterator[AreaApi]:
    clock = Clock()
    settings = Settings(simulate=True)
    links = InProcessLinks(clock.now_us)
    modules = [image.module(settings), volume.module(settings)]
    async with areas(tmp_path, settings, modules, links) as api:
        pool = FakeVolumes(exports=tmp_path / "pool" / "images" / "incoming")
        await links.join("node-1", Verbs({"volume": (VolumeDriver, pool)}, MemoryFences(), clock.now_us), {})
        api.pool = pool  # type: ignore[attr-defined]
        yield api


LATEST = {"OpenStack-API-Version": "volume 3.71"}


@pytest.fixture
def alice(cinder: AreaApi) -> httpx.AsyncClient:
    return cinder.client("red/member", "/volume/v3", **LATEST)


@pytest.fixture
def bob(cinder: AreaApi) -> httpx.AsyncClient:
    return cinder.client("blue/member", "/volume/v3", **LATEST)


@pytest.fixture
def admin(cinder: AreaApi) -> httpx.AsyncClient:
    return cinder.client("admin/admin", "/volume/v3", **LATEST)


@pytest.fixture
def glance(cinder: AreaApi) -> httpx.AsyncClient:
    return cinder.client("red/member", "/image")
