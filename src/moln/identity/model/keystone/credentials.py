"""Credentials, application credentials with their rules, trusts, and OAuth's consumers."""

from __future__ import annotations

from moln.identity.model.credentials import EC2, ApplicationCredential, KeptRule
from moln.identity.model.keystone.reading import Reading, Row, extra, nested, number, truth, when
from moln.identity.model.trusts import Trust


def read(reading: Reading) -> None:
    for row in reading.table("credential"):
        _credential(reading, row)
    for row in reading.table("access_rule"):
        if reading.has(row["user_id"], "user"):
            reading.add("access rule", KeptRule(row["external_id"], row["user_id"], row["service"], row["method"], row["path"]))
        else:
            reading.leave("access rule", row["external_id"], row["path"], "its user is not there or stays behind")
    _application_credentials(reading)
    _trusts(reading)
    for row in reading.table("consumer"):
        reading.add("consumer", {"id": row["id"], "description": row["description"], "extra": extra(row)}, secret=row["secret"])


def _credential(reading: Reading, row: Row) -> None:
    """blob: what whoever read the database made of the encrypted one; None, where no key opened it."""
    if not reading.has(row["user_id"], "user"):
        reading.leave("credential", row["id"], row["type"], "its user is not there or stays behind")
    elif row["project_id"] is not None and not reading.has(row["project_id"], "project", "domain"):
        reading.leave("credential", row["id"], row["type"], "its project is not there")
    elif row.get("blob") is None:
        reading.leave("credential", row["id"], row["type"], "none of the credential keys given opens it")
    else:
        columns = {name: row[name] for name in ("id", "type", "user_id", "project_id")}
        reading.add("credential", columns | {"extra": extra(row)}, blob=_keys(row["blob"]) if row["type"] == EC2 else row["blob"])


def _keys(blob: str) -> str:
    """A key pair's blob, which Keystone encodes twice when it comes by the credentials API and once by that of EC2."""
    found = nested(blob)
    return found if isinstance(found, str) else blob


def _application_credentials(reading: Reading) -> None:
    roles = reading.by("application_credential_role", "application_credential_id")
    rules = reading.by("application_credential_access_rule", "application_credential_id")
    names = {row["id"]: row["external_id"] for row in reading.table("access_rule")}
    for row in reading.table("application_credential"):
        if row["system"]:
            reading.leave("application credential", row["id"], row["name"], "it is for the system, which no API can make")
        elif not reading.has(row["user_id"], "user") or not reading.has(row["project_id"], "project", "domain"):
            reading.leave("application credential", row["id"], row["name"], "its user or project is not there or stays behind")
        else:
            bound = [names[rule["access_rule_id"]] for rule in rules[row["internal_id"]]]
            made = ApplicationCredential(
                id=row["id"],
                name=row["name"],
                user_id=row["user_id"],
                project_id=row["project_id"],
                description=row["description"],
                roles=sorted(role["role_id"] for role in roles[row["internal_id"]] if reading.has(role["role_id"], "role")),
                expires_at=number(row["expires_at"]),
                unrestricted=truth(row["unrestricted"]),
                access_rules=sorted(bound) or None,
            )
            reading.add("application credential", made, secret_hash=row["secret_hash"])


def _trusts(reading: Reading) -> None:
    """Those that still lend something; each after the one that it was made of."""
    roles = reading.by("trust_role", "trust_id")
    waiting = sorted(reading.table("trust"), key=lambda row: row["redelegated_trust_id"] is not None)
    while waiting:
        later = [row for row in waiting if not _trust(reading, row, roles[row["id"]])]
        if len(later) == len(waiting):
            for row in later:
                reading.leave("trust", row["id"], "", "the trust that it was made of is not there or stays behind")
            return
        waiting = later


def _trust(reading: Reading, row: Row, roles: list[Row]) -> bool:
    """False: the trust that it was made of was not read yet."""
    expires = when(row["expires_at_int"], row["expires_at"])
    above, uses = row["redelegated_trust_id"], number(row["remaining_uses"])
    if row["deleted_at"] is not None or uses == 0:
        reading.leave("trust", row["id"], "", "it was deleted or used up")
    elif expires is not None and expires <= reading.now_us:
        reading.leave("trust", row["id"], "", "it has expired")
    elif not all(reading.has(row[column], "user") for column in ("trustor_user_id", "trustee_user_id")):
        reading.leave("trust", row["id"], "", "its trustor or trustee is not there or stays behind")
    elif row["project_id"] is not None and not reading.has(row["project_id"], "project", "domain"):
        reading.leave("trust", row["id"], "", "its project is not there")
    elif above is not None and not reading.has(above, "trust"):
        return False
    else:
        made = Trust(
            id=row["id"],
            trustor_user_id=row["trustor_user_id"],
            trustee_user_id=row["trustee_user_id"],
            impersonation=truth(row["impersonation"]),
            project_id=row["project_id"],
            roles=sorted(role["role_id"] for role in roles if reading.has(role["role_id"], "role")),
            expires_at=expires,
            remaining_uses=uses,
            redelegation_count=number(row["redelegation_count"]) or 0,
            redelegated_trust_id=above,
        )
        reading.add("trust", made)
    return True
