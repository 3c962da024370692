"""Users with their passwords, groups and who is in them."""

from __future__ import annotations

from typing import Any

from moln.identity.model.keystone.reading import Reading, Row, extra, number, options, truth, when
from moln.identity.model.users import RULES, Group, User, option_fault

OPTIONS = {
    "1000": "ignore_change_password_upon_first_use", "1001": "ignore_password_expiry", "1002": "ignore_lockout_failure_attempts",
    "1003": "lock_password", "1004": "ignore_user_inactivity", "MFAR": RULES, "MFAE": "multi_factor_auth_enabled",
}  # fmt: skip


def read(reading: Reading) -> None:
    local = {row["user_id"]: row for row in reading.table("local_user")}
    federated = reading.by("federated_user", "user_id")
    passwords, kept = reading.by("password", "local_user_id"), reading.by("user_option", "user_id")
    taken: set[tuple[str, str]] = set()
    for row in reading.table("user"):
        name = _name(row, local.get(row["id"]), federated[row["id"]])
        if name is None and reading.has(row["id"], "user"):  # a directory's
            continue
        if not reading.has(row["domain_id"], "domain"):
            reading.leave("user", row["id"], name, f"its domain {row['domain_id']} is not there")
        elif name is None:
            reading.leave("user", row["id"], name, "it has no name, and no place in a directory")
        elif (row["domain_id"], name) in taken:
            reading.leave("user", row["id"], name, "another user of its domain has the same name")
        else:
            taken.add((row["domain_id"], name))
            _user(reading, row, name, local.get(row["id"]), passwords, kept[row["id"]])
    _groups(reading)


def _name(row: Row, local: Row | None, federated: list[Row]) -> str | None:
    """A user's name: their own here, or what a provider calls them."""
    if local is not None:
        return str(local["name"])
    return next((found["display_name"] or found["unique_id"] for found in federated), None)


def _user(reading: Reading, row: Row, name: str, local: Row | None, passwords: dict[Any, list[Row]], kept: list[Row]) -> None:
    mine = sorted(passwords[local["id"]], key=lambda p: when(p["created_at_int"], p["created_at"]) or 0) if local else []
    mine = [password for password in mine if password["password_hash"]]
    present = mine[-1] if mine else None
    found = options(kept, OPTIONS)
    if option_fault(found):
        reading.leave("user option", row["id"], name, f"its options are not sound: {option_fault(found)}")
        found = {}
    user = User(
        id=row["id"],
        name=name,
        domain_id=row["domain_id"],
        enabled=truth(row["enabled"]),
        default_project_id=row["default_project_id"] if reading.has(row["default_project_id"], "project") else None,
        password_set_at=when(present["created_at_int"], present["created_at"]) if present else None,
        password_expires_at=when(present["expires_at_int"], present["expires_at"]) if present else None,
        options=found,
        extra=extra(row),
    )
    reading.add("user", user, password_hash=present["password_hash"] if present else None)
    for old in mine[:-1]:
        reading.add("old password", {"user_id": user.id, "password_hash": old["password_hash"]})
    _sign_ins(reading, row, local)


def _sign_ins(reading: Reading, row: Row, local: Row | None) -> None:
    """How the user has fared: what lockout and inactivity go by."""
    failures = number(local["failed_auth_count"]) if local else 0
    active = when(None, row.get("last_active_at"))
    if failures or active:
        failed = when(None, local["failed_auth_at"]) if local else None
        reading.add("sign-in", {"user_id": row["id"], "failures": failures or 0, "failed_at": failed or 0, "active_at": active or 0, "totp_step": 0})


def _groups(reading: Reading) -> None:
    for row in reading.table("group"):
        if reading.has(row["domain_id"], "domain"):
            reading.add("group", Group(row["id"], row["name"], row["domain_id"], row["description"] or "", extra(row)))
        else:
            reading.leave("group", row["id"], row["name"], f"its domain {row['domain_id']} is not there")
    for row in reading.table("user_group_membership"):
        if reading.has(row["user_id"], "user") and reading.has(row["group_id"], "group"):
            reading.add("membership", {"group_id": row["group_id"], "user_id": row["user_id"]})
        else:
            reading.leave("membership", row["user_id"], row["group_id"], "its user or group is not there or stays behind")
