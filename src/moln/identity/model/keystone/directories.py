"""Users and groups of directories (LDAP), which Keystone knows by a number made of their place there, as we do."""

from __future__ import annotations

from moln.identity.model.directory import Entry
from moln.identity.model.keystone.reading import Reading
from moln.identity.model.users import Group, User


def read(reading: Reading) -> None:
    """What has an id there gets its place; a name that is not known is the one in the directory until somebody looks."""
    names = {row["user_id"]: row["name"] for row in reading.table("nonlocal_user")}
    known = {row["id"]: row for row in reading.table("user")}
    for row in reading.table("id_mapping"):
        id_, domain, local, kind = (row[name] for name in ("public_id", "domain_id", "local_id", "entity_type"))
        if not reading.has(domain, "domain"):
            reading.leave(f"directory {kind}", id_, local, f"its domain {domain} is not there")
        elif kind == "user":
            project = known.get(id_, {}).get("default_project_id")
            user = User(id_, names.get(id_, local), domain, default_project_id=project if reading.has(project, "project") else None)
            reading.add("directory user", user, known_as="user", password_hash=None)
            reading.add("directory entry", Entry(id_, domain, "user", local), known_as="entry")
        else:
            reading.add("directory group", Group(id_, local, domain), known_as="group")
            reading.add("directory entry", Entry(id_, domain, "group", local), known_as="entry")
