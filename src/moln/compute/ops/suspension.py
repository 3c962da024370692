"""Suspend and resume: a guest's memory put aside on its host, and taken up again; work/server_suspension.py does it."""

from __future__ import annotations

from moln.compute.model.servers import TaskState
from moln.compute.ops.power import Action

_P = "os_compute_api:os-suspend-server:"
SUSPEND = Action(_P + "suspend", "suspend", TaskState.SUSPENDING, "suspend", "suspend", "compute_suspend_instance")
RESUME = Action(_P + "resume", "resume", TaskState.RESUMING, "resume", "resume", "compute_resume_instance")
