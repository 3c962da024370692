"""The mapping language on the examples of Keystone's "Mapping Combinations", and on what breaks it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moln.identity.model.mapping import Mapped, Unmapped, apply, rules_of

BY_EMAIL = {"type": "HTTP_OIDC_GROUPIDS"}


def mapped(local: list[Any], remote: list[Any], **assertion: str) -> Mapped:
    return apply(rules_of([{"local": local, "remote": remote}]), assertion)


def test_remote_values_are_filled_in_by_their_order() -> None:
    """"empty condition": names of a user and of a group."""
    local = [{"user": {"name": "{0} {1}", "email": "{2}"}, "group": {"name": "{3}", "domain": {"id": "0cd5e9"}}}]
    remote = [{"type": name} for name in ("FirstName", "LastName", "Email", "OIDC_GROUPS")]
    found = mapped(local, remote, FirstName="Ada", LastName="Byron", Email="ada@example.org", OIDC_GROUPS="developers")
    assert found.user == {"type": "ephemeral", "name": "Ada Byron", "email": "ada@example.org"}
    assert found.group_names == [{"name": "developers", "domain": {"id": "0cd5e9"}}]


@pytest.mark.parametrize(("condition", "values", "fits"), [
    ({"any_one_of": ["HTTP_OIDC_EMAIL"]}, "HTTP_OIDC_EMAIL;other", True), ({"any_one_of": ["HTTP_OIDC_EMAIL"]}, "other", False),
    ({"not_any_of": ["HTTP_OIDC_EMAIL"]}, "other", True), ({"not_any_of": ["HTTP_OIDC_EMAIL"]}, "other;HTTP_OIDC_EMAIL", False),
    ({"any_one_of": [".*@yeah.com$"], "regex": True}, "x@no.com;me@yeah.com", True), ({"any_one_of": [".*@yeah.com$"], "regex": True}, "me@yeah.com.org", False),
    ({"not_any_of": [".*@yeah.com$"], "regex": True}, "me@yeah.com", False), ({"any_one_of": [".*@yeah.com$"]}, "me@yeah.com", False),
])  # fmt: skip
def test_conditions_decide_and_are_not_filled_in(condition: dict[str, Any], values: str, fits: bool) -> None:
    """"other conditions" and "Regular Expressions"."""
    local, remote = [{"user": {"name": "{0}"}, "group": {"id": "0cd5e9"}}], [BY_EMAIL | condition, {"type": "UserName"}]
    if fits:
        assert mapped(local, remote, UserName="ada", HTTP_OIDC_GROUPIDS=values) == Mapped({"type": "ephemeral", "name": "ada"}, ["0cd5e9"], [], [])
    else:
        with pytest.raises(Unmapped):
            mapped(local, remote, UserName="ada", HTTP_OIDC_GROUPIDS=values)


@pytest.mark.parametrize(("condition", "groups"), [
    ({"blacklist": ["me@example.com"]}, ["a", "b"]), ({"whitelist": ["me@example.com"]}, ["me@example.com"]), ({}, ["a", "me@example.com", "b"]),
    ({"whitelist": ["^[ab]$"], "regex": True}, ["a", "b"]), ({"blacklist": ["^.$"], "regex": True}, ["me@example.com"]), ({"whitelist": ["none"]}, []),
])  # fmt: skip
def test_lists_choose_what_is_filled_in(condition: dict[str, Any], groups: list[str]) -> None:
    local = [{"user": {"name": "{0}"}}, {"groups": "{1}", "domain": {"id": "0cd5e9"}}]
    found = mapped(local, [{"type": "UserName"}, BY_EMAIL | condition], UserName="ada", HTTP_OIDC_GROUPIDS="a;me@example.com;b")
    assert found.group_names == [{"name": name, "domain": {"id": "0cd5e9"}} for name in groups]


def test_groups_by_id_by_name_and_both_kinds_of_users() -> None:
    """"Group ids and names can be provided in the local section"; "Users can be mapped to local users"."""
    local = [{"group": {"id": "0cd5e9"}}, {"group": {"name": "developer_group", "domain": {"name": "private_cloud"}}}, {"group_ids": "{0}"},
             {"user": {"name": "local_user", "type": "local", "domain": {"name": "local_domain"}}}]  # fmt: skip
    found = mapped(local, [{"type": "ids"}], ids="abc;def;0cd5e9")
    assert found.group_ids == ["0cd5e9", "abc", "def"]
    assert found.group_names == [{"name": "developer_group", "domain": {"name": "private_cloud"}}]
    assert found.user == {"name": "local_user", "type": "local", "domain": {"name": "local_domain"}}


def test_all_rules_that_fit_count_and_the_first_user_stays() -> None:
    """"Multiple Rules"; and "Auto-Provisioning": projects with roles."""
    rules = [
        {"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "UserName"}]},
        {"local": [{"user": {"name": "second"}, "group": {"id": "employees"}}], "remote": [{"type": "kind", "any_one_of": ["Employee", "Contractor"]}]},
        {"local": [{"group": {"id": "never"}}], "remote": [{"type": "kind", "not_any_of": ["Employee"]}]},
        {"local": [{"projects": [{"name": "Project for {0}", "roles": [{"name": "member"}]}]}], "remote": [{"type": "UserName"}]},
    ]  # fmt: skip
    found = apply(rules_of(rules), {"UserName": "ada", "kind": "Employee"})
    assert (found.user["name"], found.group_ids) == ("ada", ["employees"])
    assert found.projects == [{"name": "Project for ada", "roles": [{"name": "member"}]}]


def test_a_rule_needs_all_of_its_remote_values() -> None:
    remote = [{"type": "UserName"}, {"type": "Email"}]
    for assertion in ({"UserName": "ada"}, {"UserName": "ada", "Email": ""}, {}):
        with pytest.raises(Unmapped):
            mapped([{"user": {"name": "{0}"}}], remote, **assertion)
    with pytest.raises(Unmapped, match="refers to a remote match"):
        mapped([{"user": {"name": "{2}"}}], remote, UserName="ada", Email="x")


@pytest.mark.parametrize("rules", [
    None, [], {}, [{}], [{"local": [], "remote": []}], [{"local": [{}]}], [{"local": [{"nonesuch": 1}], "remote": [{"type": "x"}]}],
    [{"local": [{}], "remote": [{"type": "x", "any_one_of": ["a"], "not_any_of": ["b"]}]}], [{"local": [{}], "remote": [{"type": "x", "whitelist": [1]}]}],
    [{"local": [{"group": {"name": "a"}}], "remote": [{"type": "x"}]}], [{"local": [{"groups": "a"}], "remote": [{"type": "x"}]}],
    [{"local": [{"user": {"type": "other"}}], "remote": [{"type": "x"}]}], [{"local": [{}], "remote": [{"type": "x", "any_one_of": ["("], "regex": True}]}],
    [{"local": [{"group": {"id": "a", "name": "b", "domain": {"id": "c"}}}], "remote": [{"type": "x"}]}], [{"local": [{}], "remote": [{"no": "x"}]}],
    [{"local": [{}], "remote": [{"type": "x", "any_one_of": ["a" * 300], "regex": True}]}],
])  # fmt: skip
def test_what_is_no_mapping_is_told_apart(rules: Any) -> None:
    with pytest.raises(ValueError):
        rules_of(rules)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4), st.text(max_size=20))
def test_what_somebody_is_called_is_never_read_as_a_rule(values: list[str], name: str) -> None:
    """Braces, quotes and brackets in what a provider says stay what they are."""
    values = [v.replace(";", ",") for v in values]
    name = name.replace(";", ",")
    if not name or values == [""]:
        return
    local = [{"user": {"name": "{0}"}}, {"groups": "{1}", "domain": {"id": "d"}}]
    found = mapped(local, [{"type": "n"}, {"type": "g"}], n=name, g=";".join(values))
    assert found.user["name"] == name
    assert [g["name"] for g in found.group_names] == list(dict.fromkeys(values))


def test_groups_may_be_written_as_a_list_in_the_rule_and_not_in_what_is_said() -> None:
    remote = [{"type": "g"}]
    found = mapped([{"groups": "['a', '{0}', 'x-{0}']", "domain": {"id": "d"}}], remote, g="['admins']")
    assert [g["name"] for g in found.group_names] == ["a", "['admins']", "x-['admins']"]
    assert mapped([{"group_ids": "{0}"}], remote, g="['admins']").group_ids == ["['admins']"]
