"""Identity providers, mappings, protocols, who came by them, service providers, and the configuration of domains."""

from __future__ import annotations

import json

from moln.identity.model import domain_configs
from moln.identity.model.federation import IdentityProvider, Mapping, Protocol, ServiceProvider
from moln.identity.model.keystone.reading import Reading, nested, number, truth


def read(reading: Reading) -> None:
    remote = reading.by("idp_remote_ids", "idp_id")
    for row in reading.table("identity_provider"):
        if not reading.has(row["domain_id"], "domain"):
            reading.leave("identity provider", row["id"], "", f"its domain {row['domain_id']} is not there")
            continue
        ids = sorted(found["remote_id"] for found in remote[row["id"]])
        reading.add("identity provider", IdentityProvider(
            row["id"], row["domain_id"], truth(row["enabled"]), row["description"], ids, number(row.get("authorization_ttl"))))  # fmt: skip
        for id_ in ids:
            reading.add("remote id", {"remote_id": id_, "idp_id": row["id"]})
    for row in reading.table("mapping"):
        rules = nested(row["rules"])
        reading.add("mapping", Mapping(row["id"], rules if isinstance(rules, list) else [], row.get("schema_version") or "1.0"))
    for row in reading.table("federation_protocol"):
        if reading.has(row["idp_id"], "identity provider"):
            reading.add("protocol", Protocol(row["id"], row["idp_id"], row["mapping_id"], row.get("remote_id_attribute")))
        else:
            reading.leave("protocol", row["id"], row["idp_id"], "its identity provider is not there")
    for row in reading.table("federated_user"):
        if reading.has(row["user_id"], "user"):
            reading.add("federated user", {name: row[name] for name in ("idp_id", "protocol_id", "unique_id", "user_id")})
        else:
            reading.leave("federated user", row["user_id"], row["unique_id"], "its user is not there or stays behind")
    for row in reading.table("service_provider"):
        reading.add("service provider", ServiceProvider(
            row["id"], row["auth_url"], row["sp_url"], truth(row["enabled"]), row["description"], row["relay_state_prefix"]))  # fmt: skip
    _domain_options(reading)


def _domain_options(reading: Reading) -> None:
    for row in [*reading.table("whitelisted_config"), *reading.table("sensitive_config")]:
        value, group, option = nested(row["value"]), row["group"], row["option"]
        if not reading.has(row["domain_id"], "domain"):
            reading.leave("domain option", row["domain_id"], f"{group}/{option}", "its domain is not there")
        elif wrong := domain_configs.fault({group: {option: value}}):
            reading.leave("domain option", row["domain_id"], f"{group}/{option}", wrong)
        else:
            sensitive = int(domain_configs.is_sensitive(group, option))
            columns = {"domain_id": row["domain_id"], "group": group, "option": option, "sensitive": sensitive}
            reading.add("domain option", columns, value=json.dumps(value))
