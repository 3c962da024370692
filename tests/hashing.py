"""Passwords are hashed cheaply where nobody measures it: tests make thousands of users, and what a hash costs is tried in tests/security."""

from __future__ import annotations

from moln.identity.ops.passwords import Cost, Passwords

REAL, Passwords.cost = Passwords.cost, Cost(1, 8)
