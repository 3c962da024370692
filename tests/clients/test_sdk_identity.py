"""openstacksdk, unmodified: what its identity can make is made, found, listed, changed and deleted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openstack
import pytest
from openstack.connection import Connection
from tests.clients.conftest import Running

pytestmark = pytest.mark.slow
RULES = [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "REMOTE_USER"}]}]


@pytest.fixture(scope="module")
def sdk(running: Running) -> Iterator[Connection]:
    found = openstack.config.OpenStackConfig(config_files=[str(running.home / "clouds.yaml")], load_envvars=False)
    connection = openstack.connection.Connection(config=found.get_one("moln"))
    yield connection
    connection.close()


def walk(identity: Any, kind: str, plural: str, change: dict[str, Any], **values: Any) -> Any:
    """Make one and change it; found by its id and among all of them. Returns it."""
    made = getattr(identity, f"create_{kind}")(**values)
    assert getattr(identity, f"get_{kind}")(made.id).id == made.id
    assert made.id in {found.id for found in getattr(identity, plural)()}
    changed = getattr(identity, f"update_{kind}")(made, **change)
    assert {name: getattr(changed, name) for name in change} == change
    return made


def gone(identity: Any, kind: str, thing: Any) -> None:
    getattr(identity, f"delete_{kind}")(thing)
    with pytest.raises(openstack.exceptions.NotFoundException):
        getattr(identity, f"get_{kind}")(thing.id)


def test_people_and_assignments(sdk: Connection) -> None:
    identity, changed = sdk.identity, {"description": "changed"}
    domain = walk(identity, "domain", "domains", changed, name="sdk-walk")
    project = walk(identity, "project", "projects", changed, name="sdk-walk", domain_id=domain.id)
    user = walk(identity, "user", "users", changed, name="sdk-walk", domain_id=domain.id, password="a-Secret-1")
    group = walk(identity, "group", "groups", changed, name="sdk-walk", domain_id=domain.id)
    role = walk(identity, "role", "roles", changed, name="sdk-walk")
    identity.add_user_to_group(user, group)
    assert identity.check_user_in_group(user, group) and [found.id for found in identity.group_users(group)] == [user.id]
    assert [found.id for found in identity.user_groups(user)] == [group.id]
    for kind, actor in (("user", user), ("group", group)):
        for place, target in (("project", (project,)), ("domain", (domain,)), ("system", ())):
            arguments = (*target, actor, role) if target else (actor, role, "all")
            getattr(identity, f"assign_{place}_role_to_{kind}")(*arguments)
            assert getattr(identity, f"validate_{kind}_has_{place}_role")(*arguments)
    assert len(list(identity.role_assignments(user_id=user.id))) == 3
    assert [found.id for found in identity.user_projects(user)] == [project.id]
    for kind, actor in (("user", user), ("group", group)):
        for place, target in (("project", (project,)), ("domain", (domain,)), ("system", ())):
            arguments = (*target, actor, role) if target else (actor, role, "all")
            getattr(identity, f"unassign_{place}_role_from_{kind}")(*arguments)
    identity.remove_user_from_group(user, group)
    identity.create_domain_config(domain, identity={"driver": "sql"})
    assert identity.get_domain_config(domain).identity.driver == "sql"
    identity.delete_domain_config(domain)
    for kind, thing in (("role", role), ("group", group), ("user", user), ("project", project)):
        gone(identity, kind, thing)
    identity.update_domain(domain, is_enabled=False)
    gone(identity, "domain", domain)


def test_catalogue_limits_and_filters(sdk: Connection) -> None:
    identity, changed = sdk.identity, {"description": "changed"}
    region = walk(identity, "region", "regions", changed, id="sdk-walk")
    service = walk(identity, "service", "services", changed, name="sdk-walk", type="sdk-walk")
    endpoint = walk(identity, "endpoint", "endpoints", {"url": "http://y"}, service_id=service.id, interface="public", url="http://x", region_id=region.id)
    group = walk(identity, "endpoint_group", "endpoint_groups", changed, name="sdk-walk", filters={"service_id": service.id})
    project = identity.create_project(name="sdk-filtered")
    identity.associate_endpoint_with_project(project, endpoint)
    assert [found.id for found in identity.project_endpoints(project)] == [endpoint.id]
    identity.disassociate_endpoint_from_project(project, endpoint)
    identity.associate_project_with_endpoint_group(group, project)
    assert [found.id for found in identity.endpoint_group_projects(group)] == [project.id]
    identity.disassociate_project_from_endpoint_group(group, project)
    registered = walk(identity, "registered_limit", "registered_limits", {"default_limit": 8}, service_id=service.id, resource_name="things", default_limit=9)
    limit = identity.create_limit(service_id=service.id, resource_name="things", resource_limit=3, project_id=project.id)
    assert identity.update_limit(limit, resource_limit=4).resource_limit == 4
    gone(identity, "limit", limit)
    policy = walk(identity, "policy", "policies", {"type": "text/plain"}, blob="{}", type="application/json")
    for kind, thing in (("registered_limit", registered), ("policy", policy), ("endpoint_group", group), ("endpoint", endpoint), ("service", service),
                        ("region", region), ("project", project)):  # fmt: skip
        gone(identity, kind, thing)


def test_credentials_trusts_and_federation(sdk: Connection) -> None:
    identity, changed = sdk.identity, {"description": "changed"}
    me, project = sdk.current_user_id, sdk.current_project_id
    credential = walk(identity, "credential", "credentials", {"blob": "MFRGGZDFMZTWQ2LK"}, type="totp", blob="GEZDGNBVGY3TQOJQ", user_id=me)
    gone(identity, "credential", credential)
    program = identity.create_application_credential(me, "sdk-walk", access_rules=[{"service": "compute", "method": "GET", "path": "/v2.1/servers"}])
    assert identity.find_application_credential(me, "sdk-walk").id == program.id
    identity.delete_application_credential(me, program)
    for rule in list(identity.access_rules(me)):
        identity.delete_access_rule(me, rule)
    trustee = identity.create_user(name="sdk-trustee", password="a-Secret-1")
    trust = identity.create_trust(trustor_user_id=me, trustee_user_id=trustee.id, project_id=project, impersonation=False, roles=[{"name": "member"}])
    assert trust.id in {found.id for found in identity.trusts()}
    gone(identity, "trust", trust)
    mapping = walk(identity, "mapping", "mappings", {"rules": RULES}, id="sdk-walk", rules=RULES)
    provider = walk(identity, "identity_provider", "identity_providers", changed, id="sdk-walk", remote_ids=["https://sdk"])
    protocol = identity.create_federation_protocol(provider, id="openid", mapping_id=mapping.id)
    assert identity.get_federation_protocol(provider, protocol).mapping_id == mapping.id
    identity.delete_federation_protocol(provider, protocol)
    other = walk(identity, "service_provider", "service_providers", changed, id="sdk-walk", auth_url="http://x", sp_url="http://y")
    for kind, thing in (("service_provider", other), ("identity_provider", provider), ("mapping", mapping), ("user", trustee)):
        gone(identity, kind, thing)
