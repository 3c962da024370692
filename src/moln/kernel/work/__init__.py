"""Work that no request waits for: reconcilers make rows true; periodic jobs keep house."""

from moln.kernel.work.reconciler import Later, Reconciler, Work
from moln.kernel.work.workers import Periodic, Workers

__all__ = ["Later", "Periodic", "Reconciler", "Work", "Workers"]
