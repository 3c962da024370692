"""A verdict of policy taken apart: which scope, which checks, and what each of them comes to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from moln.kernel.errors import NotFound
from moln.kernel.policy import Policy, default_rules, token_scope
from moln.kernel.policy_checks import compile_check, never, tokens

WORDS = frozenset({"and", "or", "not", "(", ")"})
DEEPEST = 8  # rules within rules


class Verdict(Struct, frozen=True):
    """allowed: what the policy says. lines: why, from the rule down to each check, indented."""

    service: str
    rule: str
    allowed: bool
    lines: list[str]


def explain(policy: Policy, rule: str, creds: Any, target: Any) -> Verdict:
    """Raises: NotFound, when no service has such a rule."""
    service = next((name for name in policy.texts if policy.knows(name, rule)), None)
    if service is None:
        raise NotFound(f"No service has a rule {rule}.")
    allowed = policy.allows(service, rule, creds, target)
    default = default_rules().get(service, {}).get(rule)
    lines = []
    if default is None or policy.texts[service][rule] != default.check:
        lines.append(f"The operator overrides it{f'; the default is {default.check!r}' if default else ''}.")
    if default is not None and default.scopes:
        mine = token_scope(creds)
        fits = "one of them" if mine in default.scopes else "none of them"
        lines.append(f"It is for scopes {', '.join(sorted(default.scopes))}; the caller's is {mine}: {fits}.")
    lines += _parts(policy, service, rule, creds, target, 0)
    return Verdict(service, rule, allowed, lines)


def _parts(policy: Policy, service: str, rule: str, creds: Any, target: Any, depth: int) -> Iterator[str]:
    """The rule's text, and whether each check in it holds."""
    text = policy.texts[service].get(rule)
    pad = "  " * depth
    if text in ("", [], None):
        yield f"{pad}{rule}: no condition"
        return
    yield f"{pad}{rule} = {text}"
    for atom in dict.fromkeys(tokens(text) if isinstance(text, str) else ()):
        if atom.lower() in WORDS:
            continue
        holds = compile_check(atom, lambda name: _named(policy, service, name), [])(creds, target)
        yield f"{pad}  {'yes' if holds else 'no '} {atom}"
        if atom.startswith("rule:") and depth < DEEPEST:
            yield from _parts(policy, service, atom.removeprefix("rule:"), creds, target, depth + 2)


def _named(policy: Policy, service: str, name: str) -> Any:
    """A rule within a rule, which carries no scopes."""
    text = policy.texts[service].get(name)
    return never if text is None else compile_check(text, lambda inner: _named(policy, service, inner), [])
