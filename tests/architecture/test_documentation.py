"""Every setting and every operation stands in the docs."""

from __future__ import annotations

import pytest
from tests.architecture import compatibility
from tests.architecture.reference import DOCS, PAGES, settings


def test_there_are_fewer_than_a_hundred_settings() -> None:
    assert len(settings()) < 100


def test_every_setting_is_described_in_its_struct() -> None:
    assert [name for name, (_, said) in settings().items() if not said] == []


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), "run: python -m tests.architecture.reference"


def test_the_official_operations_are_each_told_once_and_known_by_their_paths() -> None:
    found = compatibility.official()
    assert len({op[:4] for op in found}) == len(found) > 1000
    routes = compatibility.Routes()
    there = {compatibility.said(op) for op in found if routes.answer(op)}
    assert {"`GET /servers/{server_id}`", "`GET /v3/{project_id}/volumes`", "`GET /v2/images`", "`GET /v3/users/{user_id}`"} <= there


def test_what_is_said_of_the_suites_failures_is_said_of_failures() -> None:
    names = {o.name for o in compatibility.results()}
    causes = compatibility.remarks("known_failures.txt")
    assert [name for name in causes if name not in names] == []
    assert [name for name, why in [*causes.items(), *compatibility.remarks("excluded.txt").items()] if not why] == []
