"""Servers on other hosts than their volumes: lent to where they are, preferred where they lie, and to nobody who has them no more."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.compute.moves import Hosts, three, two, world

from moln.compute.work import server_loans
from moln.kernel.errors import BackendRefused
from moln.kernel.work import Work
from moln.volume.drivers import fake_exports
from moln.volume.drivers.base import Export
from moln.volume.ops import exports, for_compute
from moln.volume.ops.exports import Holder
from moln.volume.ops.pools import pools_of
from moln.volume.store import volumes as volume_store
from moln.volume.work.pools import look_at

__all__ = ["three", "two", "world"]


async def lender(at: Hosts, volume_id: str) -> str:
    found = await volume_store.find(at.cloud.db, volume_id)
    assert found is not None and found.host is not None
    return found.host


async def loans(at: Hosts) -> set[tuple[str, str | None]]:
    """(host, lender; None: what it opened)."""
    return {(loan.host, loan.lender) for loan in await for_compute.loans(at.cloud)}


async def apart(at: Hosts) -> tuple[dict[str, Any], str, str, str]:
    """A server with a volume of another host: (server, its host, the volume, its host)."""
    volume = await at.volume()
    await at.settle()
    there = await lender(at, volume)
    server = await at.boot()
    if await at.host_of(server) == there:
        await at.live(server)
        await at.settle()
    here = await at.host_of(server)
    assert here != there
    await at.call("POST", f"/servers/{server['id']}/os-volume_attachments", 200, {"volumeAttachment": {"volumeId": volume}})
    await at.settle()
    return server, here, volume, there


def disk(at: Hosts, host: str, server: dict[str, Any], volume: str) -> Any:
    [found] = [d for d in at.node(host).kept.servers[server["id"]].spec.disks if d.id == volume]
    return found


async def test_a_volume_is_lent_to_the_host_of_its_server_until_it_is_detached(two: Hosts) -> None:
    server, here, volume, there = await apart(two)
    assert await loans(two) == {(here, there), (here, None)}
    assert disk(two, here, server, volume).protocol == "nbd"
    await two.call("DELETE", f"/servers/{server['id']}/os-volume_attachments/{volume}", 202)
    await two.settle()
    assert await loans(two) == set()
    assert await two.sound()


async def test_a_server_that_goes_takes_no_loan_along(two: Hosts) -> None:
    server, _, _, _ = await apart(two)
    await two.call("DELETE", f"/servers/{server['id']}", 204)
    await two.settle()
    assert await loans(two) == set() and await two.sound()


@pytest.mark.parametrize("how", ["live", "cold"])
async def test_a_server_moves_to_its_volume_and_away_from_it(two: Hosts, how: str) -> None:
    server, here, volume, there = await apart(two)
    for dest, lent in ((there, False), (here, True)):
        if how == "live":
            await two.live(server)
        else:
            await two.move(server, "migrate")
            await two.settle()
            await two.act(server, {"confirmResize": None}, 204)
        await two.settle()
        assert await two.host_of(server) == dest
        assert disk(two, dest, server, volume).protocol == ("nbd" if lent else "file")
        assert await loans(two) == ({(here, there), (here, None)} if lent else set())
        assert await lender(two, volume) == there
    assert await two.sound()


async def test_an_evacuated_server_keeps_its_volume_and_its_former_host_has_no_way_to_it(three: Hosts) -> None:
    server, here, volume, there = await apart(three)
    await three.lose(here)
    await three.move(server, "evacuate", 200, "2.94")
    await three.settle()
    now = await three.host_of(server)
    assert now != here and (await three.show(server))["status"] == "ACTIVE"
    assert {loan for loan in await loans(three) if loan[1] is not None} == ({(now, there)} if now != there else set())


async def test_a_controller_that_knows_nothing_of_the_volumes_host_yet_takes_it_back_all_the_same(three: Hosts) -> None:
    server, here, volume, there = await apart(three)
    row = await three.row(server)
    pools_of(three.cloud).seen.clear()
    await for_compute.take_back(three.cloud, volume, here, Holder(row.volumes[0].attachment_id, row.generation))
    await look_at(three.cloud, there)
    assert (here, there) not in await loans(three)


async def test_a_late_command_for_the_former_host_lends_it_nothing(three: Hosts) -> None:
    server, here, volume, there = await apart(three)
    row = await three.row(server)
    late = Holder(row.volumes[0].attachment_id, row.generation)
    await three.lose(here)
    await three.move(server, "evacuate", 200, "2.94")
    await three.settle()
    found = await volume_store.find(three.cloud.db, volume)
    assert found is not None
    with pytest.raises(BackendRefused):
        await exports.lend(three.cloud, found, here, late)
    assert (here, there) not in await loans(three)


async def test_a_host_that_lends_another_volume_than_it_was_asked_for_is_not_believed(two: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    server, here, volume, there = await apart(two)
    other = await two.volume()
    await two.settle()
    found = await volume_store.find(two.cloud.db, volume)
    assert found is not None
    monkeypatch.setattr(fake_exports, "Export", lambda _, *said: Export(other, *said))
    with pytest.raises(BackendRefused, match="does not lend what it was asked for"):
        await exports.lend(two.cloud, found, here, Holder(two.cloud.ids.uuid(), 1))
    assert [loan.volume_id for loan in await for_compute.loans(two.cloud) if loan.lender is None] == [volume]


async def test_nothing_is_evacuated_whose_volume_lies_on_the_lost_host_or_on_another_lost_one(three: Hosts) -> None:
    server, here, volume, there = await apart(three)
    await three.lose(there)
    await three.lose(here)
    fault = await three.move(server, "evacuate", 400, "2.94")
    assert f"Volume {volume} lies in the pool of host {there}" in fault["badRequest"]["message"]


async def test_a_server_begins_where_its_volume_lies_and_elsewhere_where_there_is_no_room(two: Hosts) -> None:
    for _ in range(3):
        volume = await two.volume()
        await two.settle()
        there = await lender(two, volume)
        asked = [{"boot_index": -1, "uuid": volume, "source_type": "volume", "destination_type": "volume"}]
        image = {"boot_index": 0, "uuid": two.image, "source_type": "image", "destination_type": "local"}
        server = await two.boot(block_device_mapping_v2=[image, *asked])
        assert await two.host_of(server) == there
    await two.call("PUT", f"/os-services/{(await two.call('GET', f'/os-services?host={there}', admin=True))['services'][0]['id']}", 200, {"status": "disabled"}, admin=True)
    await two.settle()
    volume = await two.volume()
    await two.settle()
    lies = await lender(two, volume)
    server = await two.boot(block_device_mapping_v2=[image, {**asked[0], "uuid": volume}])
    assert await two.host_of(server) == two.other(there)
    assert disk(two, two.other(there), server, volume).protocol == ("nbd" if lies == there else "file")


async def test_a_host_that_cannot_open_a_volume_of_another_is_no_place_for_its_server(three: Hosts) -> None:
    server, here, volume, there = await apart(three)
    (third,) = set(three.api.nodes) - {here, there}
    seen = pools_of(three.cloud).seen
    seen[third] = replace(seen[third], lent=False)
    fault = await three.live(server, 202, host=third)
    assert fault is None
    assert "1 does not reach a volume of the server" in ((await three.actions(server))[0][1] or "") or (await three.records())[0][1] == "error"


async def test_what_was_forgotten_is_taken_back_and_what_is_used_is_not(two: Hosts) -> None:
    server, here, volume, there = await apart(two)
    other = await two.volume()
    await two.settle()
    found = await volume_store.find(two.cloud.db, other)
    assert found is not None and found.host is not None
    await exports.lend(two.cloud, found, two.other(found.host), Holder(two.cloud.ids.uuid(), 1))
    kept = {(here, there), (here, None)}
    assert len(await for_compute.loans(two.cloud)) == 4
    await server_loans.look(Work(two.cloud))
    assert await loans(two) == kept and len(await for_compute.loans(two.cloud)) == 2


async def test_a_node_that_is_removed_is_lent_nothing_any_more(two: Hosts) -> None:
    _, here, _, there = await apart(two)
    await for_compute.take_back_all(two.cloud, here)
    assert (here, there) not in await loans(two)
