"""`moln policy check`: the verdict, and which part of the rule it hangs on."""

from __future__ import annotations

import pytest
from tests.identity.conftest import Keystone, Someone

from moln.identity.ops.policy_check import check
from moln.kernel.errors import NotFound
from moln.kernel.policy import Policy
from moln.kernel.policy_explain import explain


async def test_a_verdict_says_what_it_hangs_on(keystone: Keystone, alice: Someone) -> None:
    cloud = keystone.cloud
    on_red = {"project": "red", "domain": None, "system": None}
    own = await check(cloud, "alice", "identity:get_user", on_red, {"target.user.id": alice.id})
    assert own["allowed"] and own["summary"] == "alice (member, reader) may identity:get_user."
    assert "  yes user_id:%(target.user.id)s" in own["lines"] and "      no  role:admin" in own["lines"]
    other = await check(cloud, f"{alice.name}@Default", "identity:get_user", on_red, {"target.user.id": "other"})
    assert not other["allowed"] and "  no  user_id:%(target.user.id)s" in other["lines"]
    system = await check(cloud, "admin", "identity:create_application_credential", {"system": "all"}, {})
    assert not system["allowed"] and system["lines"][0] == "It is for scopes project; the caller's is system: none of them."
    nowhere = await check(cloud, "alice", "identity:get_user", {"domain": "default"}, {})
    assert not nowhere["allowed"] and "no token there" in nowhere["summary"]
    assert (await check(cloud, "admin", "os_compute_api:servers:delete", {"project": "admin"}, {"project_id": "x"}))["allowed"]
    for user, action in (("nobody", "identity:get_user"), ("alice", "identity:nonesuch")):
        with pytest.raises(NotFound):
            await check(cloud, user, action, on_red, {})


def test_what_an_operator_wrote_is_told() -> None:
    policy = Policy.load(overrides={"keystone": {"identity:list_users": "role:helpdesk"}})
    told = explain(policy, "identity:list_users", type("Creds", (), {"roles": {"helpdesk"}, "system_scope": None, "domain_id": None})(), {})
    assert told.allowed and told.lines[0].startswith("The operator overrides it; the default is") and told.lines[-1] == "  yes role:helpdesk"
