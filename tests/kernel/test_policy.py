"""The compiled rules answer as oslo.policy does: over all shipped rules, and over rules made up by hypothesis."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from oslo_config import cfg
from oslo_policy import policy as oslo

from moln.kernel.errors import Invalid
from moln.kernel.policy import SERVICES, Policy, default_rules, load_overrides

POLICY = Policy.load()
NAMES = {service: sorted(rules) for service, rules in default_rules().items()}
KEYS = {
    service: sorted({key for rule in rules.values() for key in re.findall(r"%\(([^()]*)\)s", rule.check)})
    for service, rules in default_rules().items()
}


class Creds(Struct, frozen=True):
    user_id: str | None = None
    project_id: str | None = None
    domain_id: str | None = None
    user_domain_id: str | None = None
    project_domain_id: str | None = None
    system_scope: str | None = None
    roles: frozenset[str] = frozenset()
    is_admin: bool = False
    service_roles: frozenset[str] = frozenset()


ids = st.sampled_from(["a", "b", "c"])
scopes = st.one_of(
    st.fixed_dictionaries({"project_id": ids, "project_domain_id": ids}),
    st.fixed_dictionaries({"domain_id": ids}),
    st.just({"system_scope": "all"}),
    st.just({}),
)
roles = st.frozensets(
    st.sampled_from(["admin", "manager", "member", "reader", "service", "advsvc", "other"]), max_size=3
)


@st.composite
def credentials(draw: Any) -> Creds:
    held = draw(roles)
    return Creds(
        user_id=draw(ids),
        user_domain_id=draw(ids),
        roles=held,
        is_admin="admin" in held,
        service_roles=draw(st.sampled_from([frozenset(), frozenset({"service"})])),
        **draw(scopes),
    )


def oslo_creds(creds: Creds) -> dict[str, Any]:
    """What the services' contexts give oslo.policy; Keystone's has the rendered token too."""
    token: dict[str, Any] = {"user": {"id": creds.user_id, "domain": {"id": creds.user_domain_id}}}
    if creds.project_id:
        token["project"] = {"id": creds.project_id, "domain": {"id": creds.project_domain_id}}
    if creds.domain_id:
        token["domain"] = {"id": creds.domain_id}
    lists = {"roles": sorted(creds.roles), "service_roles": sorted(creds.service_roles)}
    plain = {name: getattr(creds, name) for name in Creds.__struct_fields__}
    return plain | lists | {"token": token, "is_admin_project": True}


def enforcer(rules: dict[str, tuple[str, list[str] | None]]) -> oslo.Enforcer:
    conf = cfg.ConfigOpts()
    conf([])
    made = oslo.Enforcer(conf)
    made.suppress_deprecation_warnings = True
    made.register_defaults(
        [oslo.RuleDefault(name, check, scope_types=scopes) for name, (check, scopes) in rules.items()]
    )
    made.load_rules()
    return made


ORACLES = {
    service: enforcer({rule.name: (rule.check, sorted(rule.scopes) or None) for rule in rules.values()})
    for service, rules in default_rules().items()
    if service != "neutron"  # its own kinds of check need the service; the table below speaks for them
}


@pytest.mark.parametrize("service", sorted(ORACLES))
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_default_rule_answers_as_oslo_policy_does(service: str, data: Any) -> None:
    creds = data.draw(credentials())
    values = st.sampled_from(["a", "b", "public", "admin", "member", None])
    target = data.draw(st.dictionaries(st.sampled_from(KEYS[service]), values)) if KEYS[service] else {}
    for name in NAMES[service]:
        expected = bool(ORACLES[service].enforce(name, target, oslo_creds(creds)))
        assert POLICY.allows(service, name, creds, target) is expected, name


leaves = st.sampled_from(
    [
        "role:admin",
        "role:MEMBER",
        "role:%(x)s",
        "user_id:%(x)s",
        "user_id:%(y)s",
        "domain_id:None",
        "not role:reader",
        "@",
        "!",
        "None:%(x)s",
        "'a':%(x)s",
        "True:%(y)s",
        "system_scope:all",
        "rule:base",
        "rule:nowhere",
        "is_admin:True",
        "nothing:%(x)s",
        "project_id:p%(x)s",
        "service_roles:service",
    ]
)


@st.composite
def expressions(draw: Any) -> str:
    text = draw(leaves)
    for _ in range(draw(st.integers(0, 6))):
        shape = draw(st.sampled_from(["{} and {}", "{} or {}", "({} OR {})", "({}) and not {}", "not ({} or {})"]))
        text = shape.format(text, draw(leaves)) if draw(st.booleans()) else shape.format(draw(leaves), text)
    return text


@settings(max_examples=150, deadline=None)
@given(
    rule=expressions(),
    creds=credentials(),
    target=st.dictionaries(st.sampled_from("xy"), st.sampled_from(["a", "admin", None, True])),
)
def test_any_expression_answers_as_oslo_policy_does(rule: str, creds: Creds, target: dict[str, Any]) -> None:
    ours = Policy.load({"nova": {}}, {"nova": {"base": "role:reader or user_id:%(x)s", "it": rule}})
    oracle = enforcer({"base": ("role:reader or user_id:%(x)s", None), "it": (rule, None)})
    assert ours.allows("nova", "it", creds, target) is bool(oracle.enforce("it", target, oslo_creds(creds)))


@pytest.mark.parametrize(
    "broken",
    [
        "role:admin and",
        "(role:admin",
        "role:admin)",
        "nonsense",
        "http://x/%(y)s",
        "x:%d",
        "'a'",
        "role:admin role:member",
        "1abc:%(x)s",
        7,
        None,
        "and",
        "field:x",
    ],
)
def test_a_rule_that_cannot_be_understood_denies_and_is_reported(broken: Any) -> None:
    policy = Policy.load({"nova": {}}, {"nova": {"it": broken}})
    assert not policy.allows("nova", "it", Creds(roles=frozenset({"admin"})), {"y": "1", "x": "1"})
    assert policy.problems and policy.problems[0].startswith("nova: ")


def test_rules_that_refer_to_each_other_in_a_circle_deny_and_are_reported() -> None:
    policy = Policy.load({"nova": {}}, {"nova": {"a": "rule:b", "b": "rule:a"}})
    assert not policy.allows("nova", "a", Creds()) and policy.problems


def test_the_shipped_defaults_have_no_problems() -> None:
    assert POLICY.problems == []
    assert set(SERVICES) == set(NAMES)


def test_without_a_target_it_is_about_what_is_the_callers_own() -> None:
    assert POLICY.allows("nova", "os_compute_api:servers:create", MEMBER)
    assert not POLICY.allows("nova", "os_compute_api:servers:create", READER)
    assert not POLICY.allows("nova", "os_compute_api:servers:create", MEMBER, {})


def test_it_tells_which_rules_there_are() -> None:
    assert POLICY.knows("cinder", "volume:get") and not POLICY.knows("cinder", "no_such_rule")


def test_an_unknown_rule_is_denied_even_where_the_service_has_an_open_default() -> None:
    assert not POLICY.allows("glance", "no_such_rule", Creds(roles=frozenset({"admin"})))


# Neutron's own kinds of check (neutron/policy.py, FieldCheck and OwnerCheck), by hand: rule, creds, target, answer.
MEMBER = Creds(user_id="u", project_id="p", roles=frozenset({"member", "reader"}))
READER = Creds(user_id="u", project_id="p", roles=frozenset({"reader"}))
ADMIN = Creds(user_id="u", project_id="q", roles=frozenset({"admin", "manager", "member", "reader"}), is_admin=True)
NEUTRON = [
    ("network_device", MEMBER, {"device_owner": "network:dhcp"}, True),
    ("network_device", MEMBER, {"device_owner": "compute:network:"}, False),
    ("network_device", MEMBER, {"device_owner": ""}, False),
    ("network_device", MEMBER, {}, False),
    ("shared", MEMBER, {"shared": True}, True),
    ("shared", MEMBER, {"shared": False}, False),
    ("shared", MEMBER, {"network:shared": True}, True),
    ("shared", MEMBER, {}, False),
    ("external", MEMBER, {"router:external": True}, True),
    ("external_network", MEMBER, {"router:external": False}, False),
    ("create_subnet", MEMBER, {"network:project_id": "p"}, True),
    ("create_subnet", MEMBER, {"network:tenant_id": "p"}, False),
    ("create_subnet", MEMBER, {"network:project_id": "q"}, False),
    ("create_subnet", READER, {"network:project_id": "p"}, False),
    ("create_subnet", ADMIN, {"network:project_id": "p"}, True),
    ("create_subnet", MEMBER, {}, False),
    ("get_port", READER, {"project_id": "q", "network:project_id": "p"}, True),
    ("get_port", READER, {"project_id": "q", "network:project_id": "q"}, False),
    ("create_port:device_owner", MEMBER, {"device_owner": "compute:nova", "network:project_id": "q"}, True),
    ("create_port:device_owner", MEMBER, {"device_owner": "network:dhcp", "network:project_id": "q"}, False),
    ("create_port:device_owner", MEMBER, {"device_owner": "network:dhcp", "network:project_id": "p"}, True),
    ("delete_port", MEMBER, {"device_owner": "compute:nova", "project_id": "p", "network:project_id": "p"}, False),
    ("delete_port", MEMBER, {"device_owner": "", "project_id": "p", "network:project_id": "q"}, True),
    ("create_floatingip_port_forwarding", MEMBER, {"ext_parent:project_id": "p"}, True),
    ("create_floatingip_port_forwarding", MEMBER, {"ext_parent:project_id": "q"}, False),
    ("create_security_group_rule", MEMBER, {"security_group:project_id": "p"}, True),
    ("create_security_group_rule", MEMBER, {"security_group:project_id": "q"}, False),
    ("get_security_group", READER, {"project_id": "q", "shared": True}, True),
    ("create_rbac_policy:target_project", MEMBER, {"target_project": "*"}, False),
    ("create_rbac_policy:target_project", MEMBER, {"target_project": "q"}, True),
    ("create_rbac_policy:target_project", ADMIN, {"target_project": "*"}, True),
    ("create_network:shared", MEMBER, {"project_id": "p"}, False),
    ("create_network:shared", ADMIN, {"project_id": "q"}, True),
    ("create_network:an_attribute_without_a_rule", MEMBER, {"project_id": "p"}, True),
    ("create_network:an_attribute_without_a_rule", MEMBER, {"project_id": "q"}, False),
    ("get_network", Creds(user_id="u", domain_id="d", roles=frozenset({"admin"})), {"project_id": "p"}, False),
    ("get_network", Creds(user_id="u", system_scope="all", roles=frozenset({"admin"})), {"project_id": "p"}, False),
]


@pytest.mark.parametrize(("rule", "creds", "target", "answer"), NEUTRON)
def test_neutrons_own_checks(rule: str, creds: Creds, target: dict[str, Any], answer: bool) -> None:
    assert POLICY.allows("neutron", rule, creds, target) is answer


def test_a_struct_serves_as_target_with_nested_names() -> None:
    class User(Struct):
        id: str

    class Wrapped(Struct):
        user: User

    class Target(Struct):
        target: Wrapped

    target = Target(Wrapped(User("u")))
    assert POLICY.allows("keystone", "identity:list_user_projects", Creds(user_id="u"), target)
    assert not POLICY.allows("keystone", "identity:list_user_projects", Creds(user_id="v"), target)


def test_an_override_replaces_a_default_and_keeps_its_scopes() -> None:
    policy = Policy.load(overrides={"nova": {"os_compute_api:servers:create": "role:builder"}})
    assert policy.allows("nova", "os_compute_api:servers:create", Creds(project_id="p", roles=frozenset({"builder"})))
    assert not policy.allows(
        "nova", "os_compute_api:servers:create", Creds(system_scope="all", roles=frozenset({"builder"}))
    )
    assert not policy.allows("nova", "os_compute_api:servers:create", MEMBER, {"project_id": "p"})


def test_an_override_of_a_rules_old_name_still_counts_unless_it_says_what_the_old_default_said() -> None:
    new = "os_compute_api:os-attach-interfaces:list"
    old = default_rules()["nova"][new].old_name
    assert old == "os_compute_api:os-attach-interfaces"
    assert not Policy.load(overrides={"nova": {old: "!"}}).allows("nova", new, MEMBER, {"project_id": "p"})
    same = {old: "rule:admin_or_owner"}
    assert Policy.load(overrides={"nova": same}).allows("nova", new, MEMBER, {"project_id": "p"})


def test_an_old_policy_file_may_say_tenant_id() -> None:
    policy = Policy.load(overrides={"neutron": {"get_network": "tenant_id:%(tenant_id)s"}})
    assert policy.allows("neutron", "get_network", MEMBER, {"project_id": "p"})
    assert not policy.allows("neutron", "get_network", MEMBER, {"project_id": "q"})


def test_override_files_are_read_as_yaml_or_json(tmp_path: Any) -> None:
    (tmp_path / "nova.yaml").write_text("'a': 'role:x'\n# comment\n")
    (tmp_path / "cinder.json").write_text('{"b": [["role:x"], ["role:y"]]}')
    (tmp_path / "glance.yaml").write_text("# nothing\n")
    overrides = load_overrides(tmp_path)
    assert overrides == {"nova": {"a": "role:x"}, "cinder": {"b": [["role:x"], ["role:y"]]}, "glance": {}}
    assert Policy.load(overrides=overrides).allows("cinder", "b", Creds(roles=frozenset({"y"})))
    (tmp_path / "neutron.yaml").write_text("- a list\n")
    with pytest.raises(Invalid, match=r"neutron\.yaml"):
        load_overrides(tmp_path)


async def test_the_cloud_itself_may_do_everything(cloud: Any) -> None:
    ctx = cloud.system_context()
    assert ctx.allows("compute", "os_compute_api:servers:delete", {"project_id": "p"})
    assert ctx.allows("network", "delete_port", {"project_id": "p", "network:project_id": "q", "device_owner": "compute:nova"})
    assert ctx.allows("volume", "volume:delete", {"project_id": "p"}) and ctx.allows("image", "delete_image", {"project_id": "p"})
    assert ctx.allows("identity", "identity:list_users", {})
