"""python-openstackclient, unmodified: every command of identity's that it has. A slow walk, once."""

from __future__ import annotations

import ast
import importlib.metadata
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


def test_changing_and_listing_people(running: Running) -> None:
    openstack = running.openstack
    for name in ("domain", "project", "user", "group", "role"):
        openstack(name, "create", "walked")
        openstack(name, "set", "walked", "--description", "changed")
    assert openstack("domain", "show", "walked")["description"] == "changed"
    assert openstack("project", "show", "walked")["description"] == "changed"
    assert openstack("user", "show", "walked")["description"] == "changed"
    assert openstack("group", "show", "walked")["description"] == "changed"
    assert openstack("role", "show", "walked")["description"] == "changed"
    assert "walked" in {found["Name"] for found in openstack("domain", "list")}
    assert "walked" in {found["Name"] for found in openstack("project", "list", "--my-projects")} | {p["Name"] for p in openstack("project", "list")}
    assert "walked" in {found["Name"] for found in openstack("user", "list", "--domain", "default")}
    assert "walked" in {found["Name"] for found in openstack("role", "list")}
    openstack("group", "add", "user", "walked", "walked")
    assert "walked in group walked" in openstack("group", "contains", "user", "walked", "walked")
    assert [found["Name"] for found in openstack("group", "list", "--user", "walked")] == ["walked"]
    openstack("group", "remove", "user", "walked", "walked")
    openstack("implied", "role", "create", "walked", "--implied-role", "reader")
    openstack("implied", "role", "delete", "walked", "--implied-role", "reader")
    openstack("domain", "set", "walked", "--disable")
    for name in ("domain", "project", "user", "group", "role"):
        openstack(name, "delete", "walked")


def test_tokens_and_ones_own_password(running: Running) -> None:
    openstack, password = running.openstack, (running.home / "admin.password").read_text().strip()
    openstack("token", "revoke", openstack("token", "issue")["id"])
    assert openstack("catalog", "show", "compute")["type"] == "compute"
    assert "identity" in {found["Type"] for found in openstack("catalog", "list")}
    openstack("user", "create", "own-way", "--password", "a-Secret-1", "--project", "admin")
    openstack("role", "add", "member", "--user", "own-way", "--project", "admin")
    as_user = ("--os-username", "own-way", "--os-password", "a-Secret-1")
    openstack(*as_user, "user", "password", "set", "--original-password", "a-Secret-1", "--password", "a-Secret-2")
    assert openstack("--os-username", "own-way", "--os-password", "a-Secret-2", "token", "issue")["id"]
    openstack("user", "delete", "own-way")
    assert openstack("token", "issue")["id"] and password


def test_lists_of_what_is_kept(running: Running) -> None:
    openstack = running.openstack
    program = openstack("application", "credential", "create", "walked")
    assert openstack("application", "credential", "show", "walked")["Name" if "Name" in program else "name"] == "walked"
    openstack("application", "credential", "delete", "walked")
    key = openstack("ec2", "credentials", "create")
    assert key["access"] in {found["Access"] for found in openstack("ec2", "credentials", "list")}
    assert len(openstack("credential", "list", "--type", "ec2")) >= 1
    openstack("ec2", "credentials", "delete", key["access"])


def test_changing_services_and_filters(running: Running, tmp_path: Path) -> None:
    openstack = running.openstack
    openstack("region", "create", "walked")
    openstack("region", "set", "walked", "--description", "changed")
    assert openstack("region", "show", "walked")["description"] == "changed" and len(openstack("region", "list")) >= 2
    service = openstack("service", "create", "walked-type", "--name", "walked")["id"]
    openstack("service", "set", service, "--description", "changed")
    assert openstack("service", "show", service)["description"] == "changed" and len(openstack("service", "list")) > 5
    endpoint = openstack("endpoint", "create", service, "public", "http://x", "--region", "walked")["id"]
    openstack("endpoint", "set", endpoint, "--url", "http://y")
    assert openstack("endpoint", "show", endpoint)["url"] == "http://y"
    project = openstack("project", "create", "walked-filter")["id"]
    openstack("endpoint", "add", "project", endpoint, project)
    openstack("endpoint", "remove", "project", endpoint, project)
    filters = tmp_path / "filters"
    filters.write_text(json.dumps({"service_id": service}))
    group = openstack("endpoint", "group", "create", "walked", str(filters))["id"]
    openstack("endpoint", "group", "set", group, "--name", "walked", "--filters", str(filters), "--description", "changed")  # it sends all three
    assert openstack("endpoint", "group", "show", group)["description"] == "changed"
    openstack("endpoint", "group", "add", "project", group, project)
    openstack("endpoint", "group", "remove", "project", group, project)
    openstack("endpoint", "group", "delete", group)
    registered = openstack("registered", "limit", "create", "--service", service, "--default-limit", "9", "walked-things")["id"]
    openstack("registered", "limit", "set", registered, "--default-limit", "8")
    assert openstack("registered", "limit", "list", "--service", service)[0]["Default Limit"] == 8
    limit = openstack("limit", "create", "--project", project, "--service", service, "--resource-limit", "3", "walked-things")["id"]
    openstack("limit", "set", limit, "--resource-limit", "4")
    assert openstack("limit", "list", "--service", service) == []  # a project sees its own
    assert openstack("limit", "show", limit)["resource_limit"] == 4
    openstack("limit", "delete", limit)
    openstack("registered", "limit", "delete", registered)
    openstack("endpoint", "delete", endpoint)
    openstack("service", "delete", service)
    openstack("region", "delete", "walked")
    policy = tmp_path / "policy"
    policy.write_text("{}")
    kept = openstack("policy", "create", str(policy))["id"]
    openstack("policy", "set", kept, "--type", "text/plain")
    assert openstack("policy", "show", kept)["type"] == "text/plain"
    openstack("policy", "delete", kept)
    openstack("project", "delete", project)


def test_changing_federation(running: Running, tmp_path: Path) -> None:
    openstack = running.openstack
    rules = tmp_path / "rules"
    rules.write_text(json.dumps([{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "HTTP_OIDC_NAME"}]}]))
    openstack("mapping", "create", "walked", "--rules", str(rules))
    openstack("mapping", "set", "walked", "--rules", str(rules))
    assert openstack("mapping", "show", "walked")["id"] == "walked" and "walked" in {found["ID"] for found in openstack("mapping", "list")}
    openstack("identity", "provider", "create", "walked", "--remote-id", "https://idp")
    openstack("identity", "provider", "set", "walked", "--description", "changed")
    assert openstack("identity", "provider", "show", "walked")["description"] == "changed"
    assert "walked" in {found["ID"] for found in openstack("identity", "provider", "list")}
    openstack("federation", "protocol", "create", "openid", "--identity-provider", "walked", "--mapping", "walked")
    openstack("federation", "protocol", "set", "openid", "--identity-provider", "walked", "--mapping", "walked")
    assert [found["id"] for found in openstack("federation", "protocol", "list", "--identity-provider", "walked")] == ["openid"]
    openstack("federation", "protocol", "delete", "openid", "--identity-provider", "walked")
    openstack("service", "provider", "create", "walked", "--auth-url", "http://x", "--service-provider-url", "http://y")
    openstack("service", "provider", "set", "walked", "--description", "changed")
    assert openstack("service", "provider", "list")[0]["Description"] == "changed"
    openstack("service", "provider", "delete", "walked")
    openstack("identity", "provider", "delete", "walked")
    openstack("mapping", "delete", "walked")
    assert "admin" in {found["Name"] for found in openstack("federation", "project", "list")}
    assert isinstance(openstack("federation", "domain", "list"), list | str)


def test_what_a_consumer_is_allowed(running: Running) -> None:
    """OAuth 1.0a, signed by oauthlib."""
    openstack = running.openstack
    consumer = openstack("consumer", "create", "--description", "walked")
    openstack("consumer", "set", consumer["id"], "--description", "changed")
    assert openstack("consumer", "show", consumer["id"])["description"] == "changed"
    assert consumer["id"] in {found["ID"] for found in openstack("consumer", "list")}
    signed = ("--consumer-key", consumer["id"], "--consumer-secret", consumer["secret"])
    asked = openstack("request", "token", "create", *signed, "--project", "admin")
    pin = openstack("request", "token", "authorize", "--request-key", asked["id"], "--role", "member")["oauth_verifier"]
    granted = openstack("access", "token", "create", *signed, "--request-key", asked["id"], "--request-secret", asked["secret"], "--verifier", pin)
    assert granted["id"] and granted["secret"]
    openstack("consumer", "delete", consumer["id"])


def test_no_command_is_forgotten() -> None:
    """What this file calls, against all that the client knows."""
    known = {entry.name.replace("_", " ") for entry in importlib.metadata.entry_points(group="openstack.identity.v3")}
    called = set()
    for call in ast.walk(ast.parse(Path(__file__).read_text())):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "openstack":
            words = [word.value for word in call.args if isinstance(word, ast.Constant) and isinstance(word.value, str)]
            called |= {" ".join(words[:count]) for count in range(2, 5)}
    in_loops = {f"{kind} {verb}" for kind in ("domain", "project", "user", "group", "role") for verb in ("create", "set", "delete")}
    assert known - called - in_loops == set()
