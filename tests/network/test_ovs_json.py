"""Our reader of OVSDB's messages against the standard one."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from moln.network.drivers.ovs_json import Parser

ODD = st.text(alphabet='{}"\\[]:, a\n\u00e5\u2603', max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | ODD, lambda v: st.lists(v, max_size=4) | st.dictionaries(ODD, v, max_size=4)
)


@given(messages=st.lists(st.dictionaries(ODD, VALUES, max_size=4), min_size=1, max_size=4), cuts=st.lists(st.integers(1, 9), min_size=1))
def test_messages_cut_anywhere_are_read_one_by_one(messages: list[dict], cuts: list[int]) -> None:
    stream, read, parser, turn = "".join(json.dumps(m, ensure_ascii=False) for m in messages), [], Parser(), 0
    while stream or not parser.is_done():
        size = cuts[turn % len(cuts)]
        turn += 1
        piece = stream[:size]
        stream = stream[size:]
        while piece:
            piece = piece[parser.feed(piece) :]
            if parser.is_done():
                read.append(parser.finish())
                parser = Parser()
        if not stream:
            break
    assert read == messages


def test_what_is_no_object_is_an_error() -> None:
    for text in ("[1]", "5", '"x"', "}", "nonsense"):
        parser = Parser()
        parser.feed(text)
        assert parser.is_done() and not isinstance(parser.finish(), dict)
