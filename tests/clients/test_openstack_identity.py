"""python-openstackclient, unmodified: every group of identity's commands that it can speak here. A slow walk, once.

`consumer` and the tokens of OAuth need oauthlib beside the client; tests/identity/test_oauth1.py signs for them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.clients.conftest import Running

pytestmark = pytest.mark.slow


def test_people_and_what_they_may(running: Running) -> None:
    openstack = running.openstack
    openstack("domain", "create", "cli-domain", "--description", "x")
    openstack("project", "create", "cli-project", "--domain", "cli-domain", "--tag", "one")
    user = openstack("user", "create", "cli-user", "--domain", "cli-domain", "--password", "a-Secret-1", "--multi-factor-auth-rule", "password,totp")
    assert user["options"]["multi_factor_auth_rules"] == [["password", "totp"]]
    openstack("group", "create", "cli-group", "--domain", "cli-domain")
    openstack("group", "add", "user", "cli-group", user["id"], "--group-domain", "cli-domain")
    openstack("role", "create", "cli-role")
    openstack("implied", "role", "create", "cli-role", "--implied-role", "reader")
    assert any(rule["Prior Role Name"] == "cli-role" for rule in openstack("implied", "role", "list"))
    openstack("role", "add", "cli-role", "--user", user["id"], "--project", "cli-project", "--project-domain", "cli-domain")
    assigned = openstack("role", "assignment", "list", "--user", user["id"], "--names", "--effective")
    assert {found["Role"] for found in assigned} == {"cli-role", "reader"}
    openstack("role", "remove", "cli-role", "--user", user["id"], "--project", "cli-project", "--project-domain", "cli-domain")
    for kind, name in (("role", "cli-role"), ("user", user["id"])):
        openstack(kind, "delete", name)
    openstack("group", "delete", "cli-group", "--domain", "cli-domain")
    openstack("project", "delete", "cli-project", "--domain", "cli-domain")
    openstack("domain", "set", "cli-domain", "--disable")
    openstack("domain", "delete", "cli-domain")


def test_what_is_lent_and_kept(running: Running) -> None:
    openstack = running.openstack
    user = openstack("user", "create", "cli-trustee", "--password", "a-Secret-1")
    me = openstack("token", "issue")["user_id"]
    project = openstack("project", "show", "admin")["id"]
    trust = openstack("trust", "create", "--project", project, "--role", "member", me, user["id"])
    assert [t["ID"] for t in openstack("trust", "list")] == [trust["id"]] and openstack("trust", "show", trust["id"])["trustee_user_id"] == user["id"]
    openstack("trust", "delete", trust["id"])
    rules = json.dumps([{"service": "compute", "method": "GET", "path": "/v2.1/servers"}])
    program = openstack("application", "credential", "create", "cli-ci", "--access-rules", rules)
    secret = {name.lower(): value for name, value in program.items()}["secret"]
    assert secret and "cli-ci" in [c["Name"] for c in openstack("application", "credential", "list")]
    rule = openstack("access", "rule", "list")[0]
    assert "/v2.1/servers" in openstack("access", "rule", "show", rule["ID"]).values()
    openstack("application", "credential", "delete", "cli-ci")
    openstack("access", "rule", "delete", rule["ID"])
    key = openstack("ec2", "credentials", "create")
    assert openstack("ec2", "credentials", "show", key["access"])["secret"] == key["secret"]
    openstack("ec2", "credentials", "delete", key["access"])
    kept = openstack("credential", "create", "--type", "totp", user["id"], "GEZDGNBVGY3TQOJQ")
    openstack("credential", "set", kept["id"], "--user", user["id"], "--type", "totp", "--data", "MFRGGZDFMZTWQ2LK")
    assert openstack("credential", "show", kept["id"])["blob"] == "MFRGGZDFMZTWQ2LK"
    openstack("credential", "delete", kept["id"])
    openstack("user", "delete", user["id"])


def test_services_limits_and_federation(running: Running, tmp_path: Path) -> None:
    openstack = running.openstack
    openstack("region", "create", "cli-region")
    service = openstack("service", "create", "cli-type", "--name", "cli-service")["id"]
    endpoint = openstack("endpoint", "create", service, "public", "http://x", "--region", "cli-region")["id"]
    filters = tmp_path / "filters"
    filters.write_text(json.dumps({"service_id": service}))
    group = openstack("endpoint", "group", "create", "cli-group", str(filters))["id"]
    project = openstack("project", "create", "cli-filtered")["id"]
    openstack("endpoint", "group", "add", "project", group, project)
    assert [p["ID"] for p in openstack("endpoint", "group", "list", "--endpointgroup", group)] == [project]
    openstack("endpoint", "add", "project", endpoint, project)
    assert [e["ID"] for e in openstack("endpoint", "list", "--project", project)] == [endpoint]
    openstack("endpoint", "group", "delete", group)
    registered = openstack("registered", "limit", "create", "--service", service, "--default-limit", "9", "cli-things")
    limit = openstack("limit", "create", "--project", project, "--service", service, "--resource-limit", "3", "cli-things")
    assert openstack("limit", "show", limit["id"])["resource_limit"] == 3 and openstack("registered", "limit", "show", registered["id"])["default_limit"] == 9
    openstack("limit", "delete", limit["id"])
    openstack("registered", "limit", "delete", registered["id"])
    rules = tmp_path / "rules"
    rules.write_text(json.dumps([{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "HTTP_OIDC_NAME"}]}]))
    openstack("mapping", "create", "cli-mapping", "--rules", str(rules))
    openstack("identity", "provider", "create", "cli-idp", "--remote-id", "https://idp")
    openstack("federation", "protocol", "create", "openid", "--identity-provider", "cli-idp", "--mapping", "cli-mapping")
    assert openstack("federation", "protocol", "show", "openid", "--identity-provider", "cli-idp")["mapping"] == "cli-mapping"
    openstack("service", "provider", "create", "cli-sp", "--auth-url", "http://x", "--service-provider-url", "http://y")
    assert openstack("service", "provider", "show", "cli-sp")["sp_url"] == "http://y"
    openstack("federation", "protocol", "delete", "openid", "--identity-provider", "cli-idp")
    for kind, name in ((["service", "provider"], "cli-sp"), (["identity", "provider"], "cli-idp"), (["mapping"], "cli-mapping"), (["project"], project),
                       (["endpoint"], endpoint), (["service"], service), (["region"], "cli-region")):  # fmt: skip
        openstack(*kind, "delete", name)
    policy = tmp_path / "policy"
    policy.write_text("{}")
    kept = openstack("policy", "create", str(policy))
    assert openstack("policy", "list")[0]["ID"] == kept["id"]
    openstack("policy", "delete", kept["id"])
