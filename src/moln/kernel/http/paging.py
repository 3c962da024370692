"""limit, marker and sort keys as the services take them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from msgspec import Struct

from moln.kernel.errors import Invalid

if TYPE_CHECKING:
    from moln.kernel.http.routes import Params

MAX_LIMIT = 1000


class Paging(Struct, frozen=True):
    """One page asked for. sort: (key, "asc"|"desc") pairs by wire name."""

    limit: int
    marker: str | None = None
    sort: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def of(params: Params, *, keys: frozenset[str] | set[str], default: tuple[tuple[str, str], ...] = (),
           max_limit: int = MAX_LIMIT, default_dir: str = "desc") -> Paging:  # fmt: skip
        """From `limit`, `marker`, `sort_key`/`sort_dir` (repeated) or `sort=a:asc,b`. Raises: Invalid."""
        sort: list[tuple[str, str]] = []
        if "sort" in params:
            for part in params["sort"][-1].split(","):
                key, _, direction = part.strip().partition(":")
                sort.append((key, direction or default_dir))
        elif "sort_key" in params:
            directions = params.get("sort_dir", [])
            for i, key in enumerate(params["sort_key"]):
                sort.append((key, directions[i] if i < len(directions) else (directions[-1] if directions else default_dir)))
        elif "sort_dir" in params:
            sort = [(key, params["sort_dir"][-1]) for key, _ in default]
        for key, direction in sort:
            if key not in keys:
                raise Invalid(f"Invalid sort key: {key}", field="sort_key")
            if direction not in ("asc", "desc"):
                raise Invalid(f"Invalid sort direction: {direction}. It must be asc or desc.", field="sort_dir")
        first: dict[str, str] = {}  # a key given twice counts where it came first
        for key, direction in sort:
            first.setdefault(key, direction)
        limit = bounded_limit(params.get("limit", [None])[-1], max_limit)
        return Paging(limit, params.get("marker", [None])[-1] or None, tuple(first.items()) or default)


def bounded_limit(text: str | None, max_limit: int = MAX_LIMIT) -> int:
    """The page's size. Raises: Invalid, unless it is a whole number of 0 or more (0: as many as may be)."""
    if text is None or text == "":
        return max_limit
    if not text.isascii() or not text.isdigit():
        raise Invalid(f"limit must be a whole number of 0 or more, not {text[:40]!r}", field="limit")
    return min(int(text[:20]), max_limit) or max_limit


def next_link(base: str, params: Params, marker: str, limit: int | None = None) -> str:
    """The address of the page behind `marker`: the same query with the marker replaced."""
    pairs = [(k, v) for k, vs in params.items() if k not in ("marker", "limit") for v in vs]
    if limit is not None or "limit" in params:
        pairs.append(("limit", str(limit) if limit is not None else params["limit"][-1]))
    return f"{base}?{urlencode([*pairs, ('marker', marker)])}"
