"""Paths as clients of long ago write them."""

from __future__ import annotations


async def test_a_path_of_the_network_api_may_end_in_json(api) -> None:
    plain = (await api.member.get("/network/v2.0/extensions")).json()
    suffixed = await api.member.get("/network/v2.0/extensions.json")
    assert suffixed.status_code == 200 and suffixed.json() == plain
    assert (await api.member.get("/network/v2.0/networks/none.json")).status_code == 404
    assert (await api.member.get("/compute/v2.1/flavors.json")).status_code == 404
