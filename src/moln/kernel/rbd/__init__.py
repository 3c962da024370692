"""Ceph's RBD, as nodes use it: images in one pool, each whole under its name or not there at all (docs/adr/0043-disks-in-ceph.md)."""

from moln.kernel.rbd.bases import BASE, begin, has_base
from moln.kernel.rbd.pool import GIB, Absent, Access, RbdPool, name_of

__all__ = ["BASE", "GIB", "Absent", "Access", "RbdPool", "begin", "has_base", "name_of"]
