"""Which actions a server's state allows, and the words in which one is refused (nova.compute.api's decorators)."""

from __future__ import annotations

from msgspec import Struct

from moln.compute.model.servers import Server, TaskState, VmState
from moln.kernel.errors import Conflict

V, T = VmState, TaskState
ANY_TASK = None
IDLE = frozenset[TaskState | None]({None})
REBOOTABLE_TASKS = frozenset[TaskState | None]({
    None, T.REBOOTING, T.REBOOT_STARTED, T.REBOOTING_HARD, T.REBOOT_STARTED_HARD, T.PAUSING,
})  # fmt: skip


class Rule(Struct, frozen=True):
    """vm_states: None for any. tasks: None for any. launched: whether the server must have run once. lock: whether a lock forbids it."""

    vm_states: frozenset[VmState] | None = None
    tasks: frozenset[TaskState | None] | None = IDLE
    launched: bool = True
    lock: bool = True


def _on(*states: VmState, tasks: frozenset[TaskState | None] | None = IDLE, launched: bool = True, lock: bool = True) -> Rule:
    return Rule(frozenset(states) or None, tasks, launched, lock)


RULES = {
    "delete": Rule(None, ANY_TASK, launched=False),
    "forceDelete": Rule(None, ANY_TASK, launched=False),
    "os-start": _on(V.STOPPED),
    "os-stop": _on(V.ACTIVE, V.ERROR),
    "reboot": _on(V.ACTIVE),
    "reboot hard": _on(V.ACTIVE, V.STOPPED, V.PAUSED, V.SUSPENDED, V.ERROR, tasks=REBOOTABLE_TASKS),
    "pause": _on(V.ACTIVE),
    "unpause": _on(V.PAUSED),
    "suspend": _on(V.ACTIVE),
    "resume": _on(V.SUSPENDED),
    "rescue": _on(V.ACTIVE, V.STOPPED, V.ERROR),
    "unrescue": _on(V.RESCUED),
    "shelve": _on(V.ACTIVE, V.STOPPED, V.PAUSED, V.SUSPENDED),
    "shelveOffload": _on(V.SHELVED),
    "unshelve": _on(V.SHELVED, V.SHELVED_OFFLOADED),
    "trigger_crash_dump": _on(V.ACTIVE, V.PAUSED, V.RESCUED, V.ERROR),
    "restore": Rule(frozenset()),  # of SOFT_DELETED: deleting is not deferred here, so no server ever is
    "createImage": _on(V.ACTIVE, V.STOPPED, V.PAUSED, V.SUSPENDED, lock=False),
    "changePassword": _on(V.ACTIVE),
    "inject_network_info": Rule(None, ANY_TASK, launched=False),
    "attach_volume": _on(V.ACTIVE, V.PAUSED, V.STOPPED, V.RESIZED, V.SHELVED, V.SHELVED_OFFLOADED),
    "detach_volume": _on(V.ACTIVE, V.PAUSED, V.STOPPED, V.RESIZED, V.SHELVED, V.SHELVED_OFFLOADED),
    "createBackup": _on(V.ACTIVE, V.STOPPED, V.PAUSED, V.SUSPENDED),
    "rebuild": _on(V.ACTIVE, V.STOPPED, V.ERROR),
    "resize": _on(V.ACTIVE, V.STOPPED),
    "migrate": _on(V.ACTIVE, V.STOPPED),
    "os-migrateLive": _on(V.ACTIVE, V.PAUSED),
    "evacuate": _on(V.ACTIVE, V.STOPPED, V.ERROR, tasks=ANY_TASK),
    "confirmResize": _on(V.RESIZED),
    "revertResize": _on(V.RESIZED),
    "end resize": Rule(None, IDLE),
    "attach_interface": _on(V.ACTIVE, V.PAUSED, V.STOPPED),
    "detach_interface": _on(V.ACTIVE, V.PAUSED, V.STOPPED),
    "update metadata": _on(V.ACTIVE, V.PAUSED, V.SUSPENDED, V.STOPPED, tasks=ANY_TASK),
    "delete metadata": _on(V.ACTIVE, V.PAUSED, V.SUSPENDED, V.STOPPED, tasks=ANY_TASK),
}  # fmt: skip


def check(server: Server, rule: str, *, action: str = "", override_lock: bool = False) -> None:
    """Raises: Conflict, in Nova's words, when the state or a lock forbids it. action: its name in the message."""
    what = RULES[rule]
    if server.locked and what.lock and not override_lock:
        raise Conflict(f"Instance {server.id} is locked")
    action = action or rule
    if what.vm_states is not None and server.vm_state not in what.vm_states:
        raise refusal(server, action, "vm_state", server.vm_state)
    if what.tasks is not None and server.task_state not in what.tasks:
        raise refusal(server, action, "task_state", str(server.task_state))
    if what.launched and server.launched_at is None:
        raise Conflict(f"Instance {server.id} is in an invalid state for '{action}'")


def refusal(server: Server, action: str, attribute: str, state: str) -> Conflict:
    return Conflict(f"Cannot '{action}' instance {server.id} while it is in {attribute} {state}")
