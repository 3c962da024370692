r"""Regular expressions as Nova's list filters take them, in time linear in the text whatever the pattern (SEC-42).

Literals, `.`, `\d \w \s` and their opposites, `[…]`, the quantifiers `* + ?`, and the anchors `^ $`; no groups, no alternatives.
Letters match in either case, as MySQL's REGEXP has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Struct

from moln.kernel.errors import Invalid

MOST = 255  # characters of a pattern
_TOKEN = re.compile(r"(?P<set>\[\^?\]?[^\]]*\])|(?P<escape>\\.)|(?P<any>\.)|(?P<plain>[^\[\\.])", re.S)
SPECIAL = frozenset("()|{}")


class Item(Struct, frozen=True):
    """One character to be matched, and how often: at least once (or not), at most once (or not)."""

    fits: Callable[[str], object]
    least_one: bool
    most_one: bool


class Pattern(Struct, frozen=True):
    """items between the anchors that there are."""

    items: tuple[Item, ...]
    at_start: bool
    at_end: bool

    def found_in(self, text: str) -> bool:
        """Whether it matches somewhere."""
        end = len(self.items)
        states = self._on({0})
        if end in states and not self.at_end:
            return True
        for char in text:
            after = set()
            for state in states:
                if state < end and self.items[state].fits(char):
                    after.add(state + 1)
                    if not self.items[state].most_one:
                        after.add(state)
            states = self._on(after)
            if not self.at_start:
                states |= self._on({0})
            if end in states and not self.at_end:
                return True
        return end in states

    def _on(self, states: set[int]) -> set[int]:
        """The states, and those reached by leaving out what need not be there."""
        out: set[int] = set()
        for state in states:
            while state not in out:
                out.add(state)
                if state < len(self.items) and not self.items[state].least_one:
                    state += 1
        return out


def compiled(text: str) -> Pattern:
    """Raises: Invalid, for a pattern that is too long or beyond these means."""
    if len(text) > MOST:
        raise Invalid(f"A pattern has {MOST} characters at most.")
    at_start, at_end = text.startswith("^"), text.endswith("$") and not text.endswith("\\$")
    body = text[at_start : len(text) - at_end]
    items: list[Item] = []
    place = 0
    while place < len(body):
        token = _TOKEN.match(body, place)
        if token is None or token["plain"] in ("*", "+", "?"):
            raise Invalid(f"Invalid pattern {text!r}.")
        if token["plain"] is not None and token["plain"] in SPECIAL:
            raise Invalid(f"Invalid pattern {text!r}: groups, alternatives and counts are not known here.")
        place = token.end()
        quantifier = body[place : place + 1]
        place += quantifier in ("*", "+", "?") and quantifier != ""
        items += _items(token.group(), token["plain"], quantifier, text)
    return Pattern(tuple(items), at_start, at_end)


def _items(token: str, plain: str | None, quantifier: str, text: str) -> list[Item]:
    if plain is not None:
        letter = plain.casefold()
        fits: Callable[[str], object] = lambda char: char.casefold() == letter  # noqa: E731
    else:
        try:
            fits = re.compile(token, re.I | re.S).fullmatch
        except re.error:
            raise Invalid(f"Invalid pattern {text!r}.") from None
    match quantifier:
        case "*":
            return [Item(fits, False, False)]
        case "+":
            return [Item(fits, True, True), Item(fits, False, False)]
        case "?":
            return [Item(fits, False, True)]
    return [Item(fits, True, True)]
