"""Writes docs/settings.md, docs/api.md and docs/compatibility.md from the code: `python -m tests.architecture.reference`."""

from __future__ import annotations

import inspect
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import msgspec
from tests.architecture import compatibility

DOCS = Path(__file__).parents[2] / "docs"
AGAIN = "Written by `python -m tests.architecture.reference`; a test says when it is out of date.\n"


def settings() -> dict[str, tuple[object, str]]:
    """Each setting as `name` or `table.name`: its default, and what its Struct's docstring says of it."""
    from moln.app import Settings
    from moln.kernel import config

    found: dict[str, tuple[object, str]] = {}
    for field in msgspec.structs.fields(Settings):
        default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        if isinstance(default, msgspec.Struct):
            said = described(type(default))
            found |= {f"{field.encode_name}.{name}": (value, said.get(name, "")) for name, value in msgspec.to_builtins(default).items()}
        else:
            found[field.encode_name] = default, described(config.Settings).get(field.name, "")
    return found


def described(struct: Any) -> dict[str, str]:
    """`name: text.` and `one, other: text.` of a docstring, by name."""
    names = [f.name for f in msgspec.structs.fields(struct)]
    word = "|".join([*(re.escape(n) for n in sorted(names, key=len, reverse=True)), r"\w*\*\w*"])
    text = " ".join((inspect.getdoc(struct) or "").split())
    parts = re.split(rf"(?:(?<=^)|(?<=[.;)] ))((?:(?:{word})(?:, )?)+): ", text)
    found: dict[str, str] = {}
    for group, said in zip(parts[1::2], parts[2::2], strict=True):
        for pattern in group.split(", "):
            for name in names:
                if fnmatch(name, pattern):
                    found.setdefault(name, said.strip().rstrip(";"))
    return found


def settings_page() -> str:
    rows = [f"| `{name}` | `{msgspec.json.encode(default).decode()}` | {said} |" for name, (default, said) in settings().items()]
    head = ["# Settings", "", "What `moln.toml` in a cloud's home may say; `image.folder` is `folder` below `[image]`. Each has a default.", AGAIN,
            "| setting | default | what it is |", "|---|---|---|"]  # fmt: skip
    return "\n".join([*head, *rows, ""])


def operations_page() -> str:
    from moln.app import Settings, all_routes, modules
    from moln.kernel.http.bodies import ANY_VERSION, NEWEST

    lines = ["# The APIs' operations", "", "Everything that answers; what is not here is 404. `moln routes` prints the same as a table.", AGAIN]
    services: dict[str, set[tuple[str, str, str, str]]] = {}
    for route in all_routes(modules(Settings(simulate=True))):
        first = "" if route.since == ANY_VERSION else "from {}.{}".format(*route.since)
        last = "" if route.until == NEWEST else "to {}.{}".format(*route.until)
        key = (route.service.prefix + route.path, route.method, route.action, " ".join(filter(None, (first, last))))
        services.setdefault(route.service.name, set()).add(key)
    for service, found in services.items():
        lines += [f"## {service}", ""]
        for path, method, action, versions in sorted(found):
            more = ", ".join(filter(None, (f"action `{action}`" if action else "", versions)))
            lines.append(f"- `{method} {path}`" + (f" ({more})" if more else ""))
        lines.append("")
    return "\n".join(lines)


def compatibility_page() -> str:
    return compatibility.page(AGAIN)


PAGES = {"settings.md": settings_page, "api.md": operations_page, "compatibility.md": compatibility_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())
