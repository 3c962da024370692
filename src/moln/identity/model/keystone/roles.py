"""Roles, what they imply, and assignments on projects, domains and the system."""

from __future__ import annotations

from moln.identity.model.keystone.reading import Reading, Row, extra, options, truth
from moln.identity.model.roles import SYSTEM, Grant, Role

NOWHERE = "<<null>>"  # the domain of roles that are everybody's
OPTIONS = {"IMMU": "immutable"}
TYPES = {
    "UserProject": ("user", "project"), "GroupProject": ("group", "project"), "UserDomain": ("user", "domain"),
    "GroupDomain": ("group", "domain"), "UserSystem": ("user", SYSTEM), "GroupSystem": ("group", SYSTEM),
}  # fmt: skip


def read(reading: Reading) -> None:
    kept = reading.by("role_option", "role_id")
    for row in reading.table("role"):
        domain = None if row["domain_id"] in (None, NOWHERE) else row["domain_id"]
        if domain is not None and not reading.has(domain, "domain"):
            reading.leave("role", row["id"], row["name"], f"its domain {domain} is not there")
            continue
        found = options(kept[row["id"]], OPTIONS)
        reading.add("role", Role(row["id"], row["name"], domain, row.get("description"), found, extra(row)))
    for row in reading.table("implied_role"):
        if reading.has(row["prior_role_id"], "role") and reading.has(row["implied_role_id"], "role"):
            reading.add("implied role", {"prior_id": row["prior_role_id"], "implied_id": row["implied_role_id"]})
        else:
            reading.leave("implied role", row["prior_role_id"], row["implied_role_id"], "one of the roles is not there")
    for row in [*reading.table("assignment"), *reading.table("system_assignment")]:
        _grant(reading, row)


def _grant(reading: Reading, row: Row) -> None:
    actor, target = TYPES.get(row["type"], ("", ""))
    label = f"{row['role_id']} on {row['target_id']}"
    if not actor:
        reading.leave("assignment", row["actor_id"], label, f"nobody knows its type {row['type']}")
    elif not reading.has(row["actor_id"], actor):
        reading.leave("assignment", row["actor_id"], label, f"its {actor} is not there or stays behind")
    elif target != SYSTEM and not reading.has(row["target_id"], target):
        reading.leave("assignment", row["actor_id"], label, f"its {target} is not there")
    elif not reading.has(row["role_id"], "role"):
        reading.leave("assignment", row["actor_id"], label, "its role is not there")
    else:
        place = SYSTEM if target == SYSTEM else row["target_id"]
        reading.add("assignment", Grant(actor, row["actor_id"], target, place, row["role_id"], truth(row["inherited"])))
