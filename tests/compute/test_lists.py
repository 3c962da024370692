"""GET /servers: who sees what, filters, sorting, pages, and what is shown at which microversion."""

from __future__ import annotations

from tests.compute.world import World, world

__all__ = ["world"]


async def names(world: World, query: str, *, admin: bool = False, version: str = "2.100") -> list[str]:
    answer = await world.call("GET", f"/servers/detail?{query}", 200, None, version, admin=admin)
    return [s["name"] for s in answer["servers"]]


async def test_filters_sorting_and_pages(world: World) -> None:
    web = await world.boot(name="web-1", tags=["red", "blue"], metadata={"a": "b"}, networks=[{"uuid": world.network, "fixed_ip": "10.1.0.9"}])
    await world.boot(name="web-2", tags=["red"], networks="none")
    db = await world.boot(name="db", networks="none")
    await world.act(db, {"os-stop": None})
    await world.act(web, {"lock": {"locked_reason": "mine"}})
    await world.settle()
    sort = "&sort_key=display_name&sort_dir=asc"
    for query, found in (
        ("", ["db", "web-2", "web-1"]), (sort, ["db", "web-1", "web-2"]), ("name=web" + sort, ["web-1", "web-2"]),
        ("name=^db$", ["db"]), (r"name=^.*b-[0-9]%2B$" + sort, ["web-1", "web-2"]), (r"name=^w.b\-2$", ["web-2"]), ("name=d.&limit=1", ["db"]),
        ("limit=0", []), ("name=-2$", ["web-2"]), ("name=web$", []), ("name=^web" + sort, ["web-1", "web-2"]), ("status=SHUTOFF", ["db"]), ("status=active" + sort, ["web-1", "web-2"]),
        ("status=ACTIVE&status=SHUTOFF" + sort, ["db", "web-1", "web-2"]), ("status=RESCUE", []), ("tags=red,blue", ["web-1"]),
        ("tags-any=red,blue" + sort, ["web-1", "web-2"]), ("not-tags=red,blue" + sort, ["db", "web-2"]), ("not-tags-any=red", ["db"]),
        ("ip=10.1.0.9", ["web-1"]), ("ip=10.2", []), ("locked=true", ["web-1"]), ("locked=false" + sort, ["db", "web-2"]),
        (f"flavor={world.small}{sort}", ["db", "web-1", "web-2"]), ("flavor=none", []), (f"image={world.image}&limit=1{sort}", ["db"]),
        (f"uuid={web['id']}", ["web-2", "web-1", "db"]), ("limit=1&marker=" + db["id"] + sort, ["web-1"]),
        ("changes-since=2000-01-01T00:00:00Z" + sort, ["db", "web-1", "web-2"]), ("changes-before=2000-01-01T00:00:00Z", []),
        ("power_state=4", ["db"]), ("key_name=none", []), ("sort_key=locked&sort_dir=desc&limit=1", ["web-1"]),
    ):  # fmt: skip
        seen = await names(world, query)
        assert sorted(seen) == sorted(found) if "uuid" in query or not query else seen == found, query
    page = await world.call("GET", "/servers?limit=2&sort_key=display_name&sort_dir=asc")
    (link,) = page["servers_links"]
    assert link["rel"] == "next"
    assert f"marker={page['servers'][-1]['id']}" in link["href"]
    assert set(page["servers"][0]) == {"id", "name", "links"}
    for query, status in (("status=WRONG", 400), ("marker=none", 400), ("limit=-1", 400), ("sort_key=wrong", 400), ("unheard=1", 400),
                          ("changes-since=now", 400), ("all_tenants=1", 403), ("status=DELETED", 403), ("sort_key=host", 403),
                          ("metadata=x", 400), ("_x=1", 400)):  # fmt: skip
        await world.call("GET", f"/servers?{query}", status)
    assert (await world.call("GET", "/servers?unheard=1", 200, None, "2.74"))["servers"]
    assert sorted(await names(world, "all_tenants=1&host=sim-1", admin=True)) == ["db", "web-1", "web-2"]
    assert await names(world, "", admin=True) == []
    assert await names(world, f"all_tenants=1&uuid={web['id']}", admin=True) == ["web-1"]


async def test_deleted_servers_are_listed_to_those_who_ask_for_changes(world: World) -> None:
    gone = await world.boot(name="gone", networks="none")
    await world.boot(name="here", networks="none")
    await world.call("DELETE", f"/servers/{gone['id']}", 204)
    await world.settle()
    assert await names(world, "") == ["here"]
    found = (await world.call("GET", "/servers/detail?changes-since=2000-01-01T00:00:00Z"))["servers"]
    assert {s["name"]: s["status"] for s in found} == {"gone": "DELETED", "here": "ACTIVE"}
    assert next(s for s in found if s["name"] == "gone")["OS-SRV-USG:terminated_at"]
    assert await names(world, "all_tenants=1&deleted=true", admin=True) == ["gone"]
    actions = (await world.call("GET", f"/servers/{gone['id']}/os-instance-actions"))["instanceActions"]
    assert [a["action"] for a in actions] == ["delete", "create"]
    shown = await world.call("GET", f"/servers/{gone['id']}/os-instance-actions/{actions[1]['request_id']}")
    (event,) = shown["instanceAction"]["events"]
    assert (event["event"], event["result"]) == ("compute__do_build_and_run_instance", "Success")
    assert "host" not in event
    assert event["hostId"]
    await world.call("GET", f"/servers/{gone['id']}/os-instance-actions", 404, None, "2.20")


async def test_another_projects_server_is_not_there(world: World) -> None:
    server = await world.boot(networks="none")
    world.api.member = await world.api.add_user("bob", project="other")
    for method, path, body in (
        ("GET", "", None), ("DELETE", "", None), ("PUT", "", {"server": {"name": "x"}}), ("POST", "/action", {"os-stop": None}),
        ("GET", "/os-interface", None), ("GET", "/os-volume_attachments", None), ("GET", "/metadata", None), ("GET", "/tags", None),
        ("GET", "/os-instance-actions", None), ("GET", "/ips", None), ("POST", "/action", {"os-getConsoleOutput": {}}),
    ):  # fmt: skip
        await world.call(method, f"/servers/{server['id']}{path}", 404, body)
    assert (await world.call("GET", "/servers"))["servers"] == []


async def test_a_reader_may_look_and_not_touch(world: World) -> None:
    server = await world.boot(networks="none")
    world.api.member = await world.api.add_user("carol", project="demo", role="reader")
    await world.call("GET", f"/servers/{server['id']}", 200)
    for method, path, body in (
        ("DELETE", "", None), ("PUT", "", {"server": {"name": "x"}}), ("POST", "/action", {"os-stop": None}),
        ("PUT", "/metadata", {"metadata": {}}), ("POST", "/action", {"lock": None}),
    ):  # fmt: skip
        await world.call(method, f"/servers/{server['id']}{path}", 403, body)


async def test_what_is_shown_depends_on_the_microversion(world: World) -> None:
    server = await world.boot(tags=["t"], description="d", hostname="host-1", metadata={"k": "v"})
    member, admin = {}, {}
    for version in ("2.1", "2.3", "2.9", "2.16", "2.19", "2.26", "2.47", "2.63", "2.71", "2.73", "2.90", "2.96", "2.98", "2.100"):
        member[version] = set(await world.show(server, version=version))
        admin[version] = set(await world.show(server, version=version, admin=True))
    steps = list(member)
    news = {v: member[v] - member[steps[i - 1]] for i, v in enumerate(steps) if i}
    assert news == {
        "2.3": set(), "2.9": {"locked"}, "2.16": set(), "2.19": {"description"}, "2.26": {"tags"}, "2.47": set(),
        "2.63": {"trusted_image_certificates"}, "2.71": {"server_groups"}, "2.73": {"locked_reason"}, "2.90": {"OS-EXT-SRV-ATTR:hostname"},
        "2.96": {"pinned_availability_zone"}, "2.98": set(), "2.100": {"scheduler_hints"},
    }  # fmt: skip
    assert admin["2.1"] - member["2.1"] == {
        "OS-EXT-SRV-ATTR:host", "OS-EXT-SRV-ATTR:instance_name", "OS-EXT-SRV-ATTR:hypervisor_hostname"
    }
    assert admin["2.3"] - admin["2.1"] == {
        f"OS-EXT-SRV-ATTR:{n}" for n in (
            "hostname", "kernel_id", "launch_index", "ramdisk_id", "reservation_id", "root_device_name", "user_data")
    }  # fmt: skip
    assert admin["2.16"] - admin["2.9"] == {"host_status"}
    shown = await world.show(server)
    assert (shown["description"], shown["tags"], shown["metadata"]) == ("d", ["t"], {"k": "v"})
    assert shown["OS-EXT-SRV-ATTR:hostname"] == "host-1"
    assert shown["image"]["properties"] == {}
    assert "server_groups" not in (await world.call("GET", "/servers/detail"))["servers"][0]
