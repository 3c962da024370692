"""Glance alone over HTTP, with a real store of files and a real qemu-img."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from msgspec import field
from tests.image.s3 import Between, between, s3_server
from tests.wire.areas import AreaApi, areas

import moln.image.module as image
from moln.image.settings import ImageSettings
from moln.kernel import config


class Settings(config.Settings, frozen=True):
    image: ImageSettings = field(default_factory=ImageSettings)


@pytest.fixture
async def glance(tmp_path: Path, database: str) -> AsyncIterator[AreaApi]:
    settings = Settings(simulate=not shutil.which("qemu-img"))
    async with areas(tmp_path, settings, [image.module(settings)]) as api:
        yield api


@pytest.fixture(scope="module")
def server() -> Iterator[Between]:
    """An S3 server, and what stands before it."""
    with s3_server() as endpoint, between(endpoint) as found:
        yield found


@pytest.fixture
def alice(glance: AreaApi) -> httpx.AsyncClient:
    return glance.client("red/member", "/image")


@pytest.fixture
def bob(glance: AreaApi) -> httpx.AsyncClient:
    return glance.client("blue/member", "/image")


@pytest.fixture
def admin(glance: AreaApi) -> httpx.AsyncClient:
    return glance.client("admin/admin", "/image")
