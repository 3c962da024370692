"""A Keystone's tables read as what we keep: pure, a file for each part of its schema (that of the 2026.2 release, and those before it)."""

from __future__ import annotations

from moln.identity.model.keystone import catalog, credentials, directories, federation, limits, projects, roles, users
from moln.identity.model.keystone.reading import Reading, Tables

WANTED = (
    "access_rule", "application_credential", "application_credential_access_rule", "application_credential_role", "assignment", "consumer",
    "credential", "endpoint", "endpoint_group", "federated_user", "federation_protocol", "group", "id_mapping", "identity_provider", "idp_remote_ids",
    "implied_role", "limit", "local_user", "mapping", "nonlocal_user", "password", "policy", "policy_association", "project", "project_endpoint",
    "project_endpoint_group", "project_option", "project_tag", "region", "registered_limit", "role", "role_option", "sensitive_config",
    "service", "service_provider", "system_assignment", "trust", "trust_role", "user", "user_group_membership", "user_option",
    "whitelisted_config",
)  # fmt: skip
STAYING = {
    "access_token": "OAuth 1 tokens live for a day: consumers ask again",
    "request_token": "OAuth 1 tokens live for a day: consumers ask again",
    "expiring_user_group_membership": "a federated user's groups come with their next sign-in",
    "revocation_event": "tokens of that Keystone are good for nothing here",
}
"""Tables that stay behind, whose rows are only counted."""


def read(tables: Tables, now_us: int) -> Reading:
    """Everything that can be kept, in the order in which it refers to each other, and what cannot be with the reason."""
    reading = Reading(tables, now_us)
    for part in (projects, directories, users, roles, catalog, credentials, limits, federation):
        part.read(reading)
    for table, why in STAYING.items():
        reading.leave_all(table, why)
    return reading
