"""Keystone's error body."""

from moln.kernel.http.faults import keystone_body as fault

__all__ = ["fault"]
