"""Consoles in simulation, from the API to the guest's bytes and back, over a real websocket."""

from __future__ import annotations

import asyncio
import struct

import pytest
from tests.compute.consoles import Consoles, consoles, hear, pages, token_of, world  # noqa: F401 (fixtures)
from tests.compute.world import World
from tests.conftest import Api
from websockets.exceptions import ConnectionClosed, InvalidStatus

from moln.compute.api import console_pages
from moln.compute.ops import consoles as ops
from moln.kernel.errors import Failure

SERIAL = {"remote_console": {"protocol": "serial", "type": "serial"}}


async def test_a_serial_console_carries_bytes_both_ways(consoles: Consoles) -> None:  # noqa: F811
    async with consoles.connect(await consoles.url()) as ws:
        assert ws.subprotocol == "binary"
        await hear(ws, b"login: ")
        await ws.send(b"\x00\xffroot")
        await hear(ws, b"\x00\xffroot")


async def test_a_screen_speaks_rfb(consoles: Consoles) -> None:  # noqa: F811
    url = await consoles.url("vnc", "novnc")
    assert url.startswith("http://127.0.0.1:5000/console/vnc?path=console%2Fstream%3Ftoken%3D")
    async with consoles.connect(url) as ws:
        assert await ws.recv() == b"RFB 003.008\n"
        await ws.send(b"RFB 003.008\n")
        assert await ws.recv() == b"\x01\x01"
        await ws.send(b"\x01")
        assert await ws.recv() == bytes(4)
        await ws.send(b"\x01")
        width, height = struct.unpack(">HH", (await ws.recv())[:4])
        await ws.send(struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))
        async with asyncio.timeout(10):
            left = 16 + width * height * 4
            while left > 0:
                left -= len(await ws.recv())
        assert left == 0


async def test_much_passes_through_little_memory_in_order(consoles: Consoles) -> None:  # noqa: F811
    """A client that does not read for a while loses nothing: the guest waits."""
    sent = b"".join(struct.pack(">I", number) for number in range(1 << 18))  # 1 MiB
    async with consoles.connect(await consoles.url(), max_queue=1) as ws:
        greeting = await ws.recv()

        async def send() -> None:
            for start in range(0, len(sent), 1 << 14):
                await ws.send(sent[start : start + (1 << 14)])

        sending = asyncio.create_task(send())
        await asyncio.sleep(0.3)
        heard = greeting
        async with asyncio.timeout(20):
            while len(heard) < len(greeting) + len(sent.replace(b"\r", b"\r\n")):
                heard += await ws.recv()
        await sending
        assert heard.endswith(sent.replace(b"\r", b"\r\n")[-65536:])


async def test_a_token_opens_its_console_once(consoles: Consoles) -> None:  # noqa: F811
    url = await consoles.url()
    async with consoles.connect(url) as ws:
        await hear(ws, b"login: ")
        with pytest.raises(InvalidStatus) as again:
            await consoles.connect(url)
    assert again.value.response.status_code == 403


async def test_of_many_who_use_one_token_at_a_time_one_gets_in(consoles: Consoles) -> None:  # noqa: F811
    url = await consoles.url("vnc", "novnc")
    came = await asyncio.gather(*(consoles.connect(url) for _ in range(8)), return_exceptions=True)
    opened = [ws for ws in came if not isinstance(ws, BaseException)]
    assert len(opened) == 1
    await opened[0].close()


async def test_a_token_is_forgotten_when_its_time_is_over(consoles: Consoles, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    url = await consoles.url()
    now = consoles.world.cloud.clock.now_us()
    monkeypatch.setattr(consoles.world.cloud.clock, "now_us", lambda: now + 601_000_000)
    with pytest.raises(InvalidStatus) as late:
        await consoles.connect(url)
    assert late.value.response.status_code == 403


async def test_a_token_from_before_a_reboot_opens_nothing(consoles: Consoles) -> None:  # noqa: F811
    url = await consoles.url()
    await consoles.world.act(consoles.server, {"reboot": {"type": "HARD"}})
    await consoles.world.settle()
    async with consoles.connect(url) as ws:
        with pytest.raises(ConnectionClosed) as closed:
            await ws.recv()
    assert closed.value.rcvd is not None and closed.value.rcvd.code == console_pages.REFUSED


async def test_a_token_from_before_a_mere_change_of_name_still_opens(consoles: Consoles) -> None:  # noqa: F811
    url = await consoles.url()
    await consoles.world.call("PUT", f"/servers/{consoles.server['id']}", 200, {"server": {"name": "renamed"}})
    async with consoles.connect(url) as ws:
        await hear(ws, b"login: ")


async def test_a_stopped_server_has_a_console_that_says_why_it_is_closed(consoles: Consoles) -> None:  # noqa: F811
    await consoles.world.act(consoles.server, {"os-stop": None})
    await consoles.world.settle()
    async with consoles.connect(await consoles.url()) as ws:
        with pytest.raises(ConnectionClosed) as closed:
            await ws.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (console_pages.REFUSED, "The server does not run.")


async def test_deleting_the_server_cuts_its_consoles_at_once(consoles: Consoles) -> None:  # noqa: F811
    async with consoles.connect(await consoles.url()) as ws:
        await hear(ws, b"login: ")
        await consoles.world.call("DELETE", f"/servers/{consoles.server['id']}", 204)  # no work was done yet
        with pytest.raises(ConnectionClosed) as closed:
            async with asyncio.timeout(5):
                await ws.recv()
    assert closed.value.rcvd is not None and closed.value.rcvd.code == console_pages.GONE


async def test_a_guest_that_stops_ends_its_console(consoles: Consoles) -> None:  # noqa: F811
    async with consoles.connect(await consoles.url()) as ws:
        await hear(ws, b"login: ")
        await consoles.world.guest_goes(consoles.server["id"], "stopped")
        with pytest.raises(ConnectionClosed) as closed:
            async with asyncio.timeout(5):
                await ws.recv()
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1000


async def test_the_serial_port_goes_to_whoever_came_last(consoles: Consoles) -> None:  # noqa: F811
    async with consoles.connect(await consoles.url()) as first:
        await hear(first, b"login: ")
        async with consoles.connect(await consoles.url()) as second:
            await hear(second, b"login: ")
            with pytest.raises(ConnectionClosed):
                async with asyncio.timeout(5):
                    await first.recv()
            await second.send(b"hello")
            await hear(second, b"hello")


async def test_when_a_viewer_goes_nothing_stays_open(consoles: Consoles) -> None:  # noqa: F811
    async with consoles.connect(await consoles.url()) as ws:
        await hear(ws, b"login: ")
        open_now = consoles.world.api.nodes["sim-1"].consoles.open[consoles.server["id"]]
        assert len(open_now) == 1
    async with asyncio.timeout(5):
        while open_now:
            await asyncio.sleep(0.01)


async def test_one_server_has_a_bounded_number_of_viewers(consoles: Consoles, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(console_pages, "OF_SERVER", 1)
    async with consoles.connect(await consoles.url("vnc", "novnc")):
        with pytest.raises(InvalidStatus):
            await consoles.connect(await consoles.url("vnc", "novnc"))


async def test_an_administrator_sees_what_a_token_would_open(consoles: Consoles) -> None:  # noqa: F811
    world, token = consoles.world, token_of(await consoles.url("vnc", "novnc"))  # noqa: F811
    path = f"/os-console-auth-tokens/{token}"
    for version in ("2.31", "2.99"):
        assert await world.call("GET", path, 200, version=version, admin=True) == {
            "console": {"instance_uuid": consoles.server["id"], "host": "sim-1", "port": 0, "internal_access_path": f"vnc/{consoles.server['id']}"}
        }
    await world.call("GET", path, 400, version="2.30", admin=True)
    await world.call("GET", path, 403, version="2.31")
    await world.call("GET", "/os-console-auth-tokens/no-such", 404, version="2.31", admin=True)
    async with consoles.connect(f"http://x/?path=console%2Fstream%3Ftoken%3D{token}"):
        await world.call("GET", path, 404, version="2.31", admin=True)


@pytest.mark.parametrize(("protocol", "type", "said"), [
    ("spice", "spice-html5", "Unavailable console type spice-html5."),
    ("mks", "webmks", "Unavailable console type webmks."),
    ("rdp", "rdp-html5", "Unavailable console type rdp."),
    ("vnc", "xvpvnc", "Unavailable console type xvpvnc."),
    ("vnc", "serial", "Invalid console type serial"),
    ("serial", "novnc", "Invalid console type novnc"),
])  # fmt: skip
async def test_other_consoles_are_a_bad_request(pages: None, world: World, protocol: str, type: str, said: str) -> None:  # noqa: F811
    server = await world.boot()
    body = {"remote_console": {"protocol": protocol, "type": type}}
    answer = await world.call("POST", f"/servers/{server['id']}/remote-consoles", 400, body)
    assert answer["badRequest"]["message"] == said


async def test_versions_before_2_6_have_actions_instead(pages: None, world: World) -> None:  # noqa: F811
    server = await world.boot()
    action, new = f"/servers/{server['id']}/action", f"/servers/{server['id']}/remote-consoles"
    for name, type, page in (("os-getVNCConsole", "novnc", "vnc"), ("os-getSerialConsole", "serial", "serial")):
        made = await world.call("POST", action, 200, {name: {"type": type}}, "2.5")
        assert made["console"]["type"] == type
        assert f"/console/{page}?path=" in made["console"]["url"]
        await world.call("POST", action, 404, {name: {"type": type}}, "2.6")
    await world.call("POST", action, 400, {"os-getSPICEConsole": {"type": "spice-html5"}}, "2.5")
    await world.call("POST", action, 410, {"os-getRDPConsole": {"type": "rdp-html5"}}, "2.5")
    await world.call("POST", new, 404, SERIAL, "2.5")
    await world.call("POST", new, 200, SERIAL, "2.6")
    await world.call("POST", new, 400, {"remote_console": {"protocol": "mks", "type": "webmks"}}, "2.7")
    await world.call("POST", new, 400, {"remote_console": {"protocol": "spice", "type": "spice-direct"}}, "2.98")
    await world.call("POST", new, 400, {"remote_console": {"protocol": "serial", "type": "serial", "more": 1}})


async def test_a_server_without_a_host_or_of_others_has_no_console(pages: None, world: World, api: Api) -> None:  # noqa: F811
    made = (await world.create())["server"]
    path = f"/servers/{made['id']}/remote-consoles"
    await world.call("POST", path, 409, SERIAL)
    await world.settle()
    await world.call("POST", path, 200, SERIAL)
    mallory = await api.add_user("mallory", project="elsewhere")
    reader = await api.add_user("rita", project="demo", role="reader")
    for client, status in ((mallory, 404), (reader, 403)):
        answer = await client.post(f"/compute/v2.1{path}", json=SERIAL, headers={"OpenStack-API-Version": "compute 2.6"})
        assert answer.status_code == status


async def test_a_cloud_without_the_pages_says_so(world: World, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr("moln.console.library.places", lambda home: [])
    server = await world.boot()
    answer = await world.call("POST", f"/servers/{server['id']}/remote-consoles", 400, SERIAL)
    assert "npm" in answer["badRequest"]["message"]
    page = await api.anonymous.get("/console/vnc")
    assert page.status_code == 503 and "npm" in page.text


async def test_tokens_that_nobody_used_are_forgotten(consoles: Consoles) -> None:  # noqa: F811
    cloud = consoles.world.cloud
    token = token_of(await consoles.url())
    later = cloud.clock.now_us() + 601_000_000
    await cloud.db.write(ops.store.forget_in, later)
    assert await cloud.db.one(ops.store.VALID, digest=ops.digest(token), now=0) is None
    with pytest.raises(Failure):
        await ops.redeem(cloud, token)
