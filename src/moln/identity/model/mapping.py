"""Mappings: from what an identity provider says of somebody to a user and groups here (Keystone's "Mapping Combinations").

A rule whose `remote` part fits gives its `local` part, with {0}, {1}, … filled in from the remote values in their order. Those with
any_one_of or not_any_of only decide; those with whitelist or blacklist, or nothing, are what is filled in. All rules that fit count.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping as ReadOnly
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

MAX_PATTERN = 256  # characters of a regular expression
MAX_VALUE = 4096  # characters of what one is compared with
Assertion = ReadOnly[str, str | list[str]]  # several values apart by `;` in a text, or in a list as they are


class Domain(Struct, forbid_unknown_fields=True):
    id: str | UnsetType = UNSET
    name: str | UnsetType = UNSET


class MappedUser(Struct, forbid_unknown_fields=True):
    """type: ephemeral (known by what the provider says alone) or local (one who is here already)."""

    id: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    email: str | UnsetType = UNSET
    domain: Domain | UnsetType = UNSET
    type: Literal["ephemeral", "local"] | UnsetType = UNSET


class MappedGroup(Struct, forbid_unknown_fields=True):
    id: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    domain: Domain | UnsetType = UNSET


class MappedRole(Struct, forbid_unknown_fields=True):
    name: str


class MappedProject(Struct, forbid_unknown_fields=True):
    name: str
    roles: list[MappedRole]
    domain: Domain | UnsetType = UNSET


class Local(Struct, forbid_unknown_fields=True):
    user: MappedUser | UnsetType = UNSET
    group: MappedGroup | UnsetType = UNSET
    groups: str | UnsetType = UNSET
    group_ids: str | UnsetType = UNSET
    domain: Domain | UnsetType = UNSET
    projects: list[MappedProject] | UnsetType = UNSET


class Remote(Struct, forbid_unknown_fields=True):
    type: str
    any_one_of: list[str] | UnsetType = UNSET
    not_any_of: list[str] | UnsetType = UNSET
    blacklist: list[str] | UnsetType = UNSET
    whitelist: list[str] | UnsetType = UNSET
    regex: bool = False


class Rule(Struct, forbid_unknown_fields=True):
    local: list[Local]
    remote: Annotated[list[Remote], Meta(min_length=1)]


class Unmapped(ValueError):
    """No rule fits, or one that does makes no sense of what was said."""


class Mapped(Struct, frozen=True):
    """Who somebody is here. user: as the rules have it, with a type. group_names: each with its domain. projects: to be there, with roles."""

    user: dict[str, Any]
    group_ids: list[str]
    group_names: list[dict[str, Any]]
    projects: list[dict[str, Any]]


def rules_of(value: Any) -> list[Rule]:
    """Rules as they are written. Raises: ValueError, saying what is wrong with them."""
    try:
        rules: list[Rule] = msgspec.convert(value, Annotated[list[Rule], Meta(min_length=1, max_length=200)])
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    for at, rule in enumerate(rules):
        for remote in rule.remote:
            given = [getattr(remote, name) for name in ("any_one_of", "not_any_of", "blacklist", "whitelist")]
            if sum(part is not UNSET for part in given) > 1:
                raise ValueError(f"rule {at}: a remote part has one condition at most")
            if remote.regex:
                _check_patterns([p for part in given if part is not UNSET for p in part], at)
        for local in rule.local:
            if local.group is not UNSET and (local.group.id is UNSET) == (local.group.name is UNSET or local.group.domain is UNSET):
                raise ValueError(f"rule {at}: a group is given by its id, or by its name and domain")
            if local.groups is not UNSET and local.domain is UNSET:
                raise ValueError(f"rule {at}: groups need a domain beside them")
    return rules


def _check_patterns(patterns: list[str], at: int) -> None:
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"rule {at}: {pattern!r} is no regular expression: {error}") from None
        if len(pattern) > MAX_PATTERN:
            raise ValueError(f"rule {at}: a regular expression has at most {MAX_PATTERN} characters")


def apply(rules: list[Rule], assertion: Assertion) -> Mapped:
    """Raises: Unmapped."""
    values = {name: said.split(";") if isinstance(said, str) else said for name, said in assertion.items() if isinstance(said, str | list)}
    found: list[dict[str, Any]] = []
    for rule in rules:
        direct = _direct(rule.remote, values)
        if direct is not None:
            found += [_fill(msgspec.to_builtins(local), direct) for local in rule.local]
    if not found:
        raise Unmapped("Could not map any federated user properties to identity values.")
    return _gather(found)


def _direct(remotes: list[Remote], assertion: dict[str, list[str]]) -> list[list[str]] | None:
    """The values to fill in; None, when the rule does not fit."""
    direct = []
    for remote in remotes:
        values = assertion.get(remote.type, [])
        if not values or values == [""]:
            return None
        if remote.any_one_of is not UNSET:
            if not _any(remote, remote.any_one_of, values):
                return None
        elif remote.not_any_of is not UNSET:
            if _any(remote, remote.not_any_of, values):
                return None
        elif remote.blacklist is not UNSET:
            direct.append([value for value in values if not _any(remote, remote.blacklist, [value])])
        elif remote.whitelist is not UNSET:
            direct.append([value for value in values if _any(remote, remote.whitelist, [value])])
        else:
            direct.append(values)
    return direct


def _any(remote: Remote, wanted: list[str], values: list[str]) -> bool:
    if remote.regex:
        return any(re.search(pattern, value[:MAX_VALUE]) for pattern in wanted for value in values)
    return bool(set(wanted) & set(values))


_HOLE = re.compile(r"\{(\d+)\}")
LISTS = ("groups", "group_ids")


def _fill(local: Any, direct: list[list[str]]) -> Any:
    """The local part with the values in their places: one as it is, several as a list in text, `groups` and `group_ids` as lists.

    Raises: Unmapped.
    """
    if isinstance(local, dict):
        return {key: (_names if key in LISTS else _fill)(value, direct) for key, value in local.items()}
    if isinstance(local, list):
        return [_fill(value, direct) for value in local]

    def value(found: re.Match[str]) -> str:
        values = _at(direct, int(found[1]))
        return values[0] if len(values) == 1 else json.dumps(values)

    return _HOLE.sub(value, local)


def _at(direct: list[list[str]], at: int) -> list[str]:
    if at >= len(direct):
        raise Unmapped(f"Local section in mapping refers to a remote match that doesn't exist (e.g. {{{at}}} in a local section).")
    return direct[at]


def _names(text: str, direct: list[list[str]]) -> list[str]:
    """What `groups` or `group_ids` come to. What the rule says may be a list in text; what somebody else says is never read as one."""
    if hole := _HOLE.fullmatch(text):
        return list(_at(direct, int(hole[1])))
    try:
        written = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        written = None
    if isinstance(written, list | tuple):
        return [name for item in written for name in _names(str(item), direct)]
    return [_fill(text, direct)]


def _gather(found: list[dict[str, Any]]) -> Mapped:
    """Raises: Unmapped."""
    user: dict[str, Any] = {}
    ids: dict[str, None] = {}
    names: dict[str, dict[str, Any]] = {}
    projects: list[dict[str, Any]] = []
    for local in found:
        user = user or local.get("user", {})
        group = local.get("group", {})
        if "id" in group:
            ids[group["id"]] = None
        elif group:
            names.setdefault(json.dumps(group, sort_keys=True), group)
        for name in local.get("groups", ()):
            one = {"name": name, "domain": local["domain"]}
            names.setdefault(json.dumps(one, sort_keys=True), one)
        ids |= dict.fromkeys(local.get("group_ids", ()))
        projects = projects or local.get("projects", [])
    return Mapped({"type": "ephemeral"} | user, list(ids), list(names.values()), projects)
