"""oslo.policy's rule language, compiled to closures.

A check is a function of (creds, target). Its meaning is oslo.policy's (oslo_policy/_parser.py and _checks.py are the
specification, the library itself is the oracle in the tests) with Neutron's two kinds added (neutron/policy.py:
``field:`` and the owner check). Whatever cannot be understood is denied and named in `problems`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any

Check = Callable[[Any, Any], bool]
Resolve = Callable[[str], Check]

MISSING = object()
_FORMAT = re.compile(r"%\(([^()]*)\)s")
_SPACE = re.compile(r"\s+")
_TRUE_WORDS = {"true": True, "false": False}

# Credentials under the names that old policy files still use (oslo.context, to_policy_values).
_OLD_NAMES = {
    "user": "user_id",
    "tenant": "project_id",
    "tenant_id": "project_id",
    "project": "project_id",
    "domain": "domain_id",
    "user_domain": "user_domain_id",
    "project_domain": "project_domain_id",
    "system": "system_scope",
}
# What Keystone's rules read from the caller's rendered token; absent, not None, where the token has no such part.
_TOKEN_PATHS = {
    "token.user.id": "user_id",
    "token.user.domain.id": "user_domain_id",
    "token.project.id": "project_id",
    "token.project.domain.id": "project_domain_id",
    "token.domain.id": "domain_id",
}
_CONSTANTS = {"is_admin_project": "True"}


def always(creds: Any, target: Any) -> bool:
    return True


def never(creds: Any, target: Any) -> bool:
    return False


def compile_check(rule: object, resolve: Resolve, problems: list[str]) -> Check:
    """Compile one check string (or the old list of lists). `resolve` gives the check behind ``rule:NAME``.

    Appends to `problems` and denies where the rule cannot be understood.
    """
    parser = _Parser(resolve, problems)
    try:
        if isinstance(rule, str):
            return parser.text(rule)
        if isinstance(rule, list):
            return parser.lists(rule)
    except _Unreadable as why:
        problems.append(f"{rule!r}: {why}; denied")
        return never
    problems.append(f"{rule!r} is neither text nor a list; denied")
    return never


class _Unreadable(Exception):
    pass


class _Parser:
    """Recursive descent: ``or`` binds least, then ``and``, then ``not``."""

    def __init__(self, resolve: Resolve, problems: list[str]) -> None:
        self.resolve = resolve
        self.problems = problems
        self.tokens: list[str] = []

    def text(self, rule: str) -> Check:
        if not rule:
            return always
        self.tokens = list(tokens(rule))[::-1]
        check = self._or()
        if self.tokens:
            raise _Unreadable(f"unexpected {self.tokens[-1]!r}")
        return check

    def lists(self, rule: list[Any]) -> Check:
        """The old syntax: the outer list is joined by "or", an inner one by "and"."""
        if not rule:
            return always
        either = []
        for inner in rule:
            if inner:
                names = [inner] if isinstance(inner, str) else inner
                either.append(_all([self._check(str(name)) for name in names]))
        return _any(either)

    def _or(self) -> Check:
        parts = [self._and()]
        while self._next_is("or"):
            parts.append(self._and())
        return _any(parts)

    def _and(self) -> Check:
        parts = [self._not()]
        while self._next_is("and"):
            parts.append(self._not())
        return _all(parts)

    def _not(self) -> Check:
        if self._next_is("not"):
            return _not(self._not())
        if self._next_is("("):
            check = self._or()
            if not self._next_is(")"):
                raise _Unreadable("a parenthesis is not closed")
            return check
        if not self.tokens:
            raise _Unreadable("it ends too early")
        token = self.tokens.pop()
        if token == ")" or token.lower() in ("and", "or") or token[0] in "\"'" and token[-1] == token[0]:
            raise _Unreadable(f"unexpected {token!r}")
        return self._check(token)

    def _next_is(self, word: str) -> bool:
        if self.tokens and self.tokens[-1].lower() == word:
            self.tokens.pop()
            return True
        return False

    def _check(self, token: str) -> Check:
        if token == "@":
            return always
        if token == "!":
            return never
        kind, colon, match = token.partition(":")
        if not colon:
            raise _Unreadable(f"{token!r} is no check")
        if kind == "rule":
            return self.resolve(match)
        if kind == "role":
            return _role(match)
        if kind == "field":
            return _field(match)
        if kind in ("http", "https"):
            raise _Unreadable("checks by a remote server are not supported")
        return _generic(kind, match)


def tokens(rule: str) -> Iterator[str]:
    """Parentheses count only at the ends of a word: ``%(name)s`` keeps its own."""
    for word in _SPACE.split(rule):
        inner = word.lstrip("(")
        yield from "(" * (len(word) - len(inner))
        clean = inner.rstrip(")")
        if clean:
            yield clean
        yield from ")" * (len(inner) - len(clean))


def _all(parts: list[Check]) -> Check:
    if never in parts:
        return never
    parts = [part for part in parts if part is not always]
    match parts:
        case []:
            return always
        case [a]:
            return a
        case [a, b]:
            return lambda creds, target: a(creds, target) and b(creds, target)

    def every(creds: Any, target: Any) -> bool:
        for part in parts:  # noqa: SIM110 - a loop costs half of all() over a generator
            if not part(creds, target):
                return False
        return True

    return every


def _any(parts: list[Check]) -> Check:
    if always in parts:
        return always
    parts = [part for part in parts if part is not never]
    match parts:
        case []:
            return never
        case [a]:
            return a
        case [a, b]:
            return lambda creds, target: a(creds, target) or b(creds, target)
        case [a, b, c]:
            return lambda creds, target: a(creds, target) or b(creds, target) or c(creds, target)

    def either(creds: Any, target: Any) -> bool:
        for part in parts:  # noqa: SIM110 - as above
            if part(creds, target):
                return True
        return False

    return either


def _not(part: Check) -> Check:
    if part is always:
        return never
    if part is never:
        return always
    return lambda creds, target: not part(creds, target)


def _role(match: str) -> Check:
    if "%" not in match:
        name = match.lower()
        return lambda creds, target: name in creds.roles
    wanted = _expand(match)

    def role(creds: Any, target: Any) -> bool:
        value = wanted(target)
        return value is not MISSING and str(value).lower() in creds.roles

    return role


def _field(match: str) -> Check:
    """Neutron's ``field:RESOURCE:FIELD=VALUE`` and ``=~REGEX`` on the target.

    ``networks:shared`` on a port or subnet reads the network's: the target answers ``network:shared``.
    """
    resource, colon, rest = match.partition(":")
    field, equals, literal = rest.partition("=")
    if not (colon and equals):
        raise _Unreadable(f"field:{match} has no RESOURCE:FIELD=VALUE")
    parent = "network:shared" if (resource, field) == ("networks", "shared") else field
    if literal.startswith("~"):
        try:
            regex = re.compile(literal[1:])
        except re.error as why:
            raise _Unreadable(f"bad regular expression ({why})") from why
        return lambda creds, target: isinstance(value := find(target, field), str) and regex.match(value) is not None
    wanted: str | bool = _TRUE_WORDS.get(literal.lower(), literal)

    def is_field(creds: Any, target: Any) -> bool:
        value = find(target, field)
        if value is MISSING:
            value = find(target, parent)
        return bool(value == wanted)

    return is_field


def _generic(kind: str, match: str) -> Check:
    """``LITERAL:MATCH`` or ``CREDENTIAL:MATCH``: both sides compared as text, so that a None equals a None."""
    try:
        literal = str(ast.literal_eval(kind))
    except ValueError:
        pass
    except SyntaxError as why:
        raise _Unreadable(f"{kind!r} is neither a literal nor a credential") from why
    else:
        return _literal(literal, match)
    if kind in _CONSTANTS:
        return _literal(_CONSTANTS[kind], match)
    wanted = _expand(match)
    if kind in _TOKEN_PATHS:
        attribute = attrgetter(_TOKEN_PATHS[kind])
        return lambda creds, target: (mine := attribute(creds)) is not None and _same(mine, wanted(target))
    attribute_name = _OLD_NAMES.get(kind, kind)
    if "%" not in match and "." not in attribute_name:
        return _credential(attribute_name, match)
    if attribute_name in ("user_id", "project_id", "domain_id", "system_scope"):
        return _owner(attribute_name, match, wanted)
    path = attribute_name.split(".")
    return lambda creds, target: _found(creds, path, wanted(target))


def _credential(name: str, match: str) -> Check:
    def is_credential(creds: Any, target: Any) -> bool:
        value = getattr(creds, name, None)
        if value.__class__ in (str, bool, None.__class__):
            return str(value) == match and hasattr(creds, name)
        return _found(creds, [name], match)

    return is_credential


def _owner(attribute_name: str, match: str, wanted: Callable[[Any], Any]) -> Check:
    attribute = attrgetter(attribute_name)
    single = _FORMAT.fullmatch(match)
    if single is None:
        return lambda creds, target: _same(attribute(creds), wanted(target))
    key = single[1]

    def owner(creds: Any, target: Any) -> bool:
        mine = attribute(creds)
        try:
            theirs = target[key] if type(target) is dict else find(target, key)
        except KeyError:
            theirs = find(target, key)
        if type(mine) is str and type(theirs) is str:
            return bool(mine == theirs)
        return _same(mine, theirs)

    return owner


def _literal(literal: str, match: str) -> Check:
    if "%" not in match:
        return always if literal == match else never
    wanted = _expand(match)
    return lambda creds, target: _same(literal, wanted(target))


def _same(mine: object, theirs: object) -> bool:
    return theirs is not MISSING and str(mine) == str(theirs)


def _found(value: Any, path: list[str], wanted: object) -> bool:
    """Follow a credential's path; in a list any member may match."""
    if wanted is MISSING:
        return False
    for at, name in enumerate(path):
        value = value.get(name, MISSING) if isinstance(value, Mapping) else getattr(value, name, MISSING)
        if value is MISSING:
            return False
        if isinstance(value, list | tuple | frozenset | set):
            return any(_found(item, path[at + 1 :], wanted) for item in value)
    return str(value) == str(wanted)


def _expand(match: str) -> Callable[[Any], Any]:
    """The match with ``%(name)s`` filled in from the target; MISSING where the target lacks a name."""
    keys = _FORMAT.findall(match)
    if "%" in _FORMAT.sub("", match):
        raise _Unreadable(f"{match!r}: only %(name)s may be filled in")
    if not keys:
        return lambda target: match
    if _FORMAT.fullmatch(match):
        key = keys[0]
        return lambda target: find(target, key)

    def expand(target: Any) -> Any:
        values = {key: find(target, key) for key in keys}
        return MISSING if MISSING in values.values() else match % values

    return expand


def find(target: Any, key: str) -> Any:
    """What the target says to a name: a key, a Struct's field, or a dotted path through either; else MISSING."""
    value = _get(target, key)
    if value is not MISSING:
        return value
    if "." in key:
        value = target
        for name in key.split("."):
            value = _get(value, name)
            if value is MISSING:
                return MISSING
        return value
    if "tenant_id" in key:
        return find(target, key.replace("tenant_id", "project_id"))
    return MISSING


def _get(target: Any, key: str) -> Any:
    if isinstance(target, Mapping):
        try:
            return target[key]
        except KeyError:
            return MISSING
    return MISSING if target is None else getattr(target, key, MISSING)
