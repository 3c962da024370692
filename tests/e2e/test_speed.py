"""Where the time goes between POST /servers and a running QEMU."""

from __future__ import annotations

from tests.e2e.world import World

from moln.bench import boot
from moln.demo.client import Client

LOADED_S = 2.0  # the budget is for a quiet machine; `moln bench` judges it


def test_a_server_is_handed_to_qemu_at_once(world: World) -> None:
    url = world.auth_url.removesuffix("/identity/v3")
    client = Client(url, user="admin", password=world.places.admin_password.read_text().strip(), project="admin")
    network = world.admin.network.find_network("demo", ignore_missing=False)
    body = {"name": "quick", "imageRef": world.image.id, "flavorRef": world.flavor.id, "networks": [{"uuid": network.id}]}
    steps = boot.boot(client, world.places, body)
    for step in steps:
        print(f"{step.at_s:8.3f} s  {step.name}")
    row = boot.row(steps)
    assert row.value is not None and row.value < LOADED_S, row
