"""Every setting and every operation stands in the docs."""

from __future__ import annotations

import pytest
from tests.architecture.reference import DOCS, PAGES, settings


def test_there_are_fewer_than_a_hundred_settings() -> None:
    assert len(settings()) < 100


def test_every_setting_is_described_in_its_struct() -> None:
    assert [name for name, (_, said) in settings().items() if not said] == []


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), "run: python -m tests.architecture.reference"
