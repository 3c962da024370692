"""The patterns of list filters: what Python's own regular expressions find, they find, and never slowly."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moln.compute.model.patterns import compiled
from moln.kernel.errors import Invalid

_item = st.tuples(st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "\\d", "\\w", "\\.", "-", "1"]), st.sampled_from(["", "*", "+", "?"])).map("".join)
_patterns = st.tuples(st.sampled_from(["", "^"]), st.lists(_item, max_size=6).map("".join), st.sampled_from(["", "$"])).map("".join)


@given(_patterns, st.text("abAB1.-\n", max_size=12))
def test_it_finds_what_python_finds(pattern: str, text: str) -> None:
    wanted = re.search(pattern.replace("$", r"\Z") if pattern.endswith("$") and not pattern.endswith("\\$") else pattern, text, re.I | re.S)
    assert compiled(pattern).found_in(text) == bool(wanted)


@pytest.mark.parametrize("pattern", ["(a+)+$", "a|b", "a{2}", "*a", "[a", "a" * 256])
def test_what_it_does_not_know_is_refused(pattern: str) -> None:
    with pytest.raises(Invalid):
        compiled(pattern)


def test_a_bad_pattern_takes_no_time() -> None:
    began = time.monotonic()
    assert not compiled("a*" * 100 + "b$").found_in("a" * 255)
    assert time.monotonic() - began < 5
