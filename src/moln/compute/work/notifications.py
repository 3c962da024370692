"""What others are told of servers, by the names of Nova's versioned notifications: what their owners asked for, how it ended, and changes of state.

Told are instance actions: one that begins, and one that ends. Metadata, tags, user data and passwords are left out.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from moln.compute.model.instance_actions import InstanceAction
from moln.compute.model.servers import PowerState, Server
from moln.compute.store.instance_actions import COLUMNS
from moln.compute.store.server_tables import server_actions, servers
from moln.compute.store.servers import BY_ID, DELETED
from moln.kernel.clock import iso
from moln.kernel.db import Query, Reader
from moln.kernel.notifications.events import Event, Kind, plain

POWER = {PowerState.NOSTATE: "pending", PowerState.RUNNING: "running", PowerState.PAUSED: "paused", PowerState.SHUTDOWN: "shutdown",
         PowerState.CRASHED: "crashed"}  # fmt: skip
ACTION = ("server_id", "request_id", "action")
OF_ACTION = Query(sa.select(*COLUMNS).where(*(server_actions.c[name] == sa.bindparam(name) for name in ACTION)).limit(1), InstanceAction)


def _steps(name: str) -> tuple[str, str, str]:
    return f"{name}.start", f"{name}.end", ""


STEPS = {  # by action: when it begins, when it ended well, when it failed; "": Nova tells nothing then
    "create": ("create.start", "create.end", "create.error"),
    "delete": _steps("delete"),
    "start": _steps("power_on"),
    "stop": _steps("power_off"),
    "reboot": ("reboot.start", "reboot.end", "reboot.error"),
    "rebuild": ("rebuild.start", "rebuild.end", "rebuild.error"),
    "evacuate": ("evacuate", "rebuild.end", "rebuild.error"),
    **{name: _steps(name) for name in ("pause", "unpause", "suspend", "resume", "rescue", "unrescue", "shelve", "unshelve")},
    "shelveOffload": _steps("shelve_offload"),
    **dict.fromkeys(("resize", "migrate"), ("resize_prep.start", "resize_finish.end", "resize.error")),
    "confirmResize": _steps("resize_confirm"),
    "revertResize": _steps("resize_revert"),
    "live-migration": ("live_migration_pre.start", "live_migration_post.end", "live_migration_rollback.end"),
    "live_migration_cancel": _steps("live_migration_abort"),
    "live_migration_force_complete": _steps("live_migration_force_complete"),
    **{name: _steps("snapshot") for name in ("createImage", "createBackup")},
    "attach_volume": ("volume_attach.start", "volume_attach.end", "volume_attach.error"),
    "detach_volume": _steps("volume_detach"),
    "attach_interface": ("interface_attach.start", "interface_attach.end", "interface_attach.error"),
    "detach_interface": _steps("interface_detach"),
    "lock": ("lock", "", ""),
    "unlock": ("unlock", "", ""),
    "trigger_crash_dump": _steps("trigger_crash_dump"),
}
SHOWN = ("user_id", "host", "key_name", "locked", "locked_reason")


async def tell_action(reader: Reader, before: InstanceAction | None, after: InstanceAction | None) -> list[Event]:
    if after is None or after.action not in STEPS:
        return []
    ended = all(e.finish_time for e in after.events)
    if before is not None and (not ended or all(e.finish_time for e in before.events)):
        return []
    failed = after.message == "Error"
    step = STEPS[after.action][0 if before is None else 2 if failed else 1]
    server = await reader.one(BY_ID, id=after.server_id) or await reader.one(DELETED, id=after.server_id)
    if not step or server is None:
        return []
    fault = next((e.details for e in after.events if e.result == "Error"), None)
    told = {"request_id": after.request_id, "action_initiator_user": after.user_id, "action_initiator_project": after.project_id,
            "fault": _nested("ExceptionPayload", {"exception_message": fault}) if fault else None}  # fmt: skip
    return [Event(f"instance.{step}", "InstanceActionPayload", payload(server) | told, server.host, "ERROR" if failed else "INFO")]


async def tell_server(reader: Reader, before: Server | None, after: Server | None) -> list[Event]:
    if before is None or after is None:  # its actions tell
        return []
    if (before.vm_state, before.task_state, before.name, before.host) == (after.vm_state, after.task_state, after.name, after.host):
        return []
    change = {"old_state": before.vm_state, "state": after.vm_state, "old_task_state": before.task_state, "new_task_state": after.task_state}
    told = {"state_update": _nested("InstanceStateUpdatePayload", change), "old_display_name": before.name if before.name != after.name else None}
    return [Event("instance.update", "InstanceUpdatePayload", payload(after) | told, after.host)]


def payload(server: Server) -> dict[str, Any]:
    """What every notification of a server says, in Nova's names."""
    times = {name: _time(getattr(server, name)) for name in ("created_at", "updated_at", "launched_at", "terminated_at")}
    flavor = server.flavor
    of = {"flavorid": server.flavor_id, "name": flavor.original_name, "memory_mb": flavor.ram, "vcpus": flavor.vcpus, "root_gb": flavor.disk,
          "ephemeral_gb": flavor.ephemeral, "swap": flavor.swap}  # fmt: skip
    addresses = [
        _nested("IpPayload", {"label": nic.label, "mac": nic.mac, "port_uuid": nic.port_id, "version": a.version, "address": a.ip})
        for nic in server.nics for a in nic.addresses
    ]  # fmt: skip
    return plain(
        server, *SHOWN, uuid=server.id, tenant_id=server.project_id, display_name=server.name, display_description=server.description,
        host_name=server.hostname, node=server.host, availability_zone=server.az, image_uuid=server.image_id, state=server.vm_state,
        task_state=server.task_state, power_state=POWER.get(PowerState(server.power_state)), reservation_id=server.reservation_id,
        auto_disk_config=server.disk_config, flavor=_nested("FlavorPayload", of), ip_addresses=addresses, deleted_at=times["terminated_at"], **times,
    )  # fmt: skip


def _nested(name: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"nova_object.name": name, "nova_object.namespace": "moln", "nova_object.version": "1.0", "nova_object.data": data}


def _time(us: int | None) -> str | None:
    return None if us is None else iso(us)


KINDS = (
    Kind(servers, BY_ID, tell_server, "compute", "nova-compute", prefix="nova_object"),
    Kind(server_actions, OF_ACTION, tell_action, "compute", "nova-compute", key=ACTION, prefix="nova_object"),
)
