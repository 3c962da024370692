"""Each operation, by each persona, over HTTP: what Keystone's default rule for it says is what happens.

The rules and what they guard are Keystone's own tables (kernel/policy_rules/keystone.tsv and policy_operations.tsv); the targets are
put together here from what was made, as Keystone's code does, and not by the operations themselves.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from tests.identity.conftest import Keystone
from tests.identity.policy_world import Case, Operation, World, operations

from moln.identity.api.service import routes
from moln.kernel.context import RequestContext
from moln.kernel.policy import Policy, default_rules

POLICY = Policy.load()
GONE = {"identity:revocation_list"}  # Keystone removed what it guards, and keeps the rule
NOT_FOUND = {"identity:ec2tokens_validate", "identity:s3tokens_validate"}  # who may ask is told that there is no such key
OWN = {  # of a list: what its rule reads is the caller's own domain
    "identity:list_users": ("domain_id",), "identity:list_projects": ("domain_id",), "identity:list_role_assignments": ("domain_id",),
    "identity:list_groups": ("group", "domain_id"), "identity:list_domains": ("domain", "id"),
}  # fmt: skip

_PROVIDER, _BY_PROTOCOL = "/v3/OS-FEDERATION/identity_providers/{}/protocols/{}/auth", "/v3/auth/OS-FEDERATION/identity_providers/{}/protocols/{}/websso"
UNRULED = {
    *((method, path) for method in ("GET", "POST") for path in (_PROVIDER, _BY_PROTOCOL, "/v3/auth/OS-FEDERATION/websso/{}")),
    *(("GET", path) for path in ("/", "/v3", "/v3/OS-FEDERATION/domains", "/v3/OS-FEDERATION/projects", "/v3/OS-FEDERATION/saml2/metadata",
                                 "/v3/OS-INHERIT/projects/{}/groups/{}/roles/inherited_to_projects",
                                 "/v3/OS-INHERIT/projects/{}/users/{}/roles/inherited_to_projects")),
    *(("POST", path) for path in ("/v3/auth/tokens", "/v3/users/{}/password", "/v3/auth/OS-FEDERATION/saml2", "/v3/auth/OS-FEDERATION/saml2/ecp",
                                  "/v3/OS-OAUTH1/access_token", "/v3/OS-OAUTH1/request_token", "/v3/OS-OAUTH2/token")),
}  # fmt: skip


def target_of(op: Operation, case: Case, ctx: RequestContext) -> dict[str, Any]:
    target = dict(case.target)
    if op.rule in OWN and ctx.domain_id:
        inside: Any = ctx.domain_id
        for name in reversed(OWN[op.rule]):
            inside = {name: inside}
        target |= inside
    if op.rule == "identity:list_credentials":
        target["credential"] = {"user_id": ctx.user_id}
    about: dict[str, Any] = {"target": target} | case.variables
    if "token" in case.target:
        about["target.token.user_id"] = case.target["token"]
    return about


def test_the_table_names_every_rule() -> None:
    named = {op.rule for op in operations()}
    assert {rule for rule in default_rules()["keystone"] if rule.startswith("identity:")} == named


def test_every_operation_has_a_rule_or_is_one_of_those_that_keystone_has_none_for() -> None:
    """Those prove who somebody is, or are for everybody; a new one has to be in Keystone's table, or be named here."""
    ruled = {(op.method, re.sub(r"{[^}]*}", "{}", op.path)) for op in operations()}
    there = {(route.method, re.sub(r"{[^}]*}", "{}", route.path)) for route in routes.all}
    assert there - ruled == UNRULED


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_every_persona_may_do_what_the_default_rule_says(keystone: Keystone) -> None:
    world = await World(keystone).set_up()
    wrong: list[str] = []
    seen: Counter[tuple[str, str]] = Counter()
    for op in operations():
        if op.rule in GONE:
            continue
        for persona, client in world.people.items():
            who = await keystone.cloud.authenticate(keystone.cloud, client.headers["X-Auth-Token"])
            ctx = RequestContext(keystone.cloud, "req-1", who)
            case = await world.case(op)
            if "/auth/tokens" in op.path:
                subject = await world.token(world.other.id)
                case.headers, case.target["token"] = {"X-Subject-Token": subject}, world.other.id
            allowed = POLICY.allows("keystone", op.rule, ctx, target_of(op, case, ctx))
            answer = await client.request(op.method, case.path, json=case.body, headers=case.headers)
            if op.rule == "identity:get_auth_catalog" and ctx.project_id is None:
                allowed = False  # the rule lets everybody; there is a catalogue for projects alone
            right = answer.is_success or (op.rule in NOT_FOUND and answer.status_code == 404) if allowed else answer.status_code == 403
            seen[op.rule, "allowed" if allowed else "refused"] += 1
            if not right:
                said = answer.json()["error"]["message"][:120] if answer.content else ""
                wrong.append(f"{op.rule} {op.method} {op.path} by {persona}: {'allowed' if allowed else 'refused'}, but {answer.status_code} {said}")
    print(f"{sum(seen.values())} requests for {len({rule for rule, _ in seen})} rules")
    assert not wrong, f"{len(wrong)} of {sum(seen.values())}\n" + "\n".join(wrong)
