"""The one suite that all who lend volumes pass (volume/drivers/base.py, Exports): two hosts, one of which has the volume."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.drivers.lending import Pair, fake_pair, real_pair

from moln.kernel.errors import BackendRefused
from moln.volume.drivers.base import Lent

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture(params=["fake", "nbdkit"])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    async with fake_pair() if request.param == "fake" else real_pair(tmp_path) as found:
        yield found


async def test_a_volume_is_lent_to_a_host_once_however_often_it_is_asked_for(pair: Pair) -> None:
    volume = await pair.make()
    first = await pair.here.ensure_export(volume, "b")
    assert await pair.here.ensure_export(volume, "b") == first
    assert (await pair.here.lent()).exports == [(volume, "b")]
    assert first.volume_id == volume and first.host == "b" and first.address and first.secret


async def test_each_host_has_a_secret_of_its_own(pair: Pair) -> None:
    volume, other = await pair.make(), await pair.make()
    exports = [await pair.here.ensure_export(*of) for of in ((volume, "b"), (volume, "c"), (other, "b"))]
    assert len({export.secret for export in exports}) == 3
    assert all(len(export.secret) >= 48 for export in exports)  # 192 bits


async def test_what_is_not_there_is_not_lent(pair: Pair) -> None:
    with pytest.raises(BackendRefused):
        await pair.here.ensure_export(str(uuid.uuid4()), "b")
    assert await pair.here.lent() == Lent()


async def test_it_is_opened_the_same_way_however_often_it_is_asked_for(pair: Pair) -> None:
    volume = await pair.make()
    export = await pair.here.ensure_export(volume, "b")
    opened = await pair.there.ensure_import(export)
    assert opened.kind == "nbd" and opened.format == "raw"
    assert await pair.there.ensure_import(export) == opened
    assert (await pair.there.lent()).imports == [volume]


async def test_what_was_withdrawn_and_closed_is_not_there_any_more_and_twice_is_as_good_as_once(pair: Pair) -> None:
    volume = await pair.make()
    first = await pair.here.ensure_export(volume, "b")
    await pair.here.ensure_export(volume, "c")
    await pair.there.ensure_import(first)
    for _ in range(2):
        await pair.there.remove_import(volume)
        await pair.here.remove_export(volume, "b")
    assert await pair.there.lent() == Lent()
    assert (await pair.here.lent()).exports == [(volume, "c")]
