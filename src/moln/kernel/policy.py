"""Who may do what: OpenStack's rule names and defaults, an operator's overrides, closures at the end.

One namespace a service ("keystone", "nova", ...), because names like context_is_admin mean something else in each.
The defaults (policy_rules/*.tsv) are those of the 2026.2 release, whose oslo.policy always enforces a rule's scopes
and never falls back to the deprecated defaults.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from moln.kernel.errors import Invalid
from moln.kernel.policy_checks import Check, always, compile_check, never

SERVICES = ("keystone", "glance", "placement", "nova", "neutron", "cinder")
_SCOPES = frozenset({"system", "domain", "project"})

Overrides = Mapping[str, Mapping[str, Any]]


class Rule(Struct, frozen=True):
    """A default. old_name/old_check: the rule it replaces; an override of the old name still counts."""

    name: str
    check: str
    scopes: frozenset[str] = frozenset()
    old_name: str | None = None
    old_check: str | None = None


class Policy:
    """Compiled rules. `problems` says what of the overrides could not be understood (and is denied). texts: what was compiled."""

    def __init__(self, rules: dict[str, dict[str, Check]], problems: list[str], texts: dict[str, dict[str, Any]] | None = None) -> None:
        self._rules = rules
        self.problems = problems
        self.texts = texts or {}

    @classmethod
    def load(
        cls, service_rules: Mapping[str, Mapping[str, Rule]] | None = None, overrides: Overrides | None = None
    ) -> Policy:
        """Compile the defaults (ours, unless others are given) with an operator's overrides by service."""
        problems: list[str] = []
        compiled, texts = {}, {}
        for service, rules in (service_rules or default_rules()).items():
            mine = (overrides or {}).get(service) or {}
            found: list[str] = []
            compiler = _Compiler(rules, mine, found)
            compiled[service] = compiler.every_rule()
            texts[service] = {name: compiler.text(name) for name in compiled[service]}
            problems += [f"{service}: {problem}" for problem in found]
        return cls(compiled, problems, texts)

    def allows(self, service: str, rule: str, creds: Any, target: Any = None) -> bool:
        """Whether `creds` (a RequestContext) may do what `rule` guards to `target` (a mapping or Struct; None: what is the
        caller's own).

        An unknown rule is denied, except that Neutron's attributes without a rule fall to its `default`.
        """
        rules = self._rules[service]
        check = rules.get(rule)
        if check is None:
            check = rules["default"] if service == "neutron" else never
        return check(creds, creds if target is None else target)

    def knows(self, service: str, rule: str) -> bool:
        return rule in self._rules.get(service, ())


class _Compiler:
    """Compiles one service's rules, each once, through their references."""

    def __init__(self, rules: Mapping[str, Rule], overrides: Mapping[str, Any], problems: list[str]) -> None:
        self.rules = rules
        self.overrides = overrides
        self.problems = problems
        self.done: dict[str, Check] = {}
        self.open: set[str] = set()

    def every_rule(self) -> dict[str, Check]:
        names = [*self.rules, *(name for name in self.overrides if name not in self.rules)]
        return {name: self._scoped(name, self._check(name)) for name in names}

    def _check(self, name: str) -> Check:
        if name in self.done:
            return self.done[name]
        if name not in self.rules and name not in self.overrides:
            if name == "default" or ("default" not in self.rules and "default" not in self.overrides):
                self.problems.append(f"rule {name!r} does not exist; denied")
                return never
            return self._check("default")
        if name in self.open:
            self.problems.append(f"rule {name!r} refers to itself; denied")
            return never
        self.open.add(name)
        check = compile_check(self.text(name), self._check, self.problems)
        self.open.discard(name)
        self.done[name] = check
        return check

    def text(self, name: str) -> Any:
        """The check string in force: the operator's, else the operator's for the old name, else the default."""
        if name in self.overrides:
            return self.overrides[name]
        rule = self.rules[name]
        if rule.old_name and rule.old_name != name and rule.old_name in self.overrides:
            old = self.overrides[rule.old_name]
            if old not in (rule.old_check, f"rule:{name}"):
                return old
        return rule.check

    def _scoped(self, name: str, check: Check) -> Check:
        """Add the test of the token's scope (oslo.policy's _enforce_scope); references carry none."""
        rule = self.rules.get(name)
        scopes = rule.scopes if rule else frozenset()
        if not scopes or scopes == _SCOPES or check is never:
            return check
        if scopes == {"project"}:
            if check is always:
                return lambda creds, target: not (creds.system_scope or creds.domain_id)
            return lambda creds, target: not (creds.system_scope or creds.domain_id) and check(creds, target)
        return lambda creds, target: token_scope(creds) in scopes and check(creds, target)


def token_scope(creds: Any) -> str:
    """ "system", "domain" or "project"; an unscoped token counts as "project" (oslo.policy)."""
    if creds.system_scope:
        return "system"
    return "domain" if creds.domain_id else "project"


@functools.cache
def default_rules() -> dict[str, dict[str, Rule]]:
    """The shipped defaults by service and name."""
    folder = resources.files("moln.kernel") / "policy_rules"
    return {service: _read_rules((folder / f"{service}.tsv").read_text("utf-8")) for service in SERVICES}


def _read_rules(text: str) -> dict[str, Rule]:
    rules = {}
    for line in text.splitlines()[1:]:
        name, check, scopes, legacy = line.split("\t")
        old_name, equals, old_check = legacy.partition("=")
        if not equals or " " in old_name or old_name.startswith("field:"):
            old_name, old_check = name, legacy
        rules[name] = Rule(
            name, check, frozenset(filter(None, scopes.split(","))), old_name if legacy else None, old_check or None
        )
    return rules


def load_overrides(folder: Path) -> dict[str, dict[str, Any]]:
    """Read an operator's ``SERVICE.yaml`` or ``SERVICE.json`` files. Raises: Invalid, naming a bad file."""
    overrides = {}
    for service in SERVICES:
        for path in (folder / f"{service}.yaml", folder / f"{service}.json"):
            if not path.is_file():
                continue
            try:
                text = path.read_text("utf-8")
                rules = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
            except (ValueError, yaml.YAMLError) as why:
                raise Invalid(f"{path} cannot be read: {' '.join(str(why).split())}") from why
            if not isinstance(rules or {}, dict):
                raise Invalid(f"{path} must map rule names to checks")
            overrides[service] = rules or {}
    return overrides
