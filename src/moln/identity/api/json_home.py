"""The version document for `Accept: application/json-home`: every resource and where it is (RFC draft-nottingham-json-home).

Its names follow Keystone's rule: the words of the path, each before a variable in the singular.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

ROOT = "https://docs.openstack.org/api/openstack-identity/3"
MEDIA_TYPE = "application/json-home"
IRREGULAR = {
    "user_password": "user_change_password", "role_imply": "implied_role", "role_implies": "implied_roles",
    "user_application_credentials": "application_credentials", "user_application_credential": "application_credential",
}  # fmt: skip


def home(paths: Iterable[str], prefix: str = "") -> dict[str, Any]:
    """paths: of the operations, from `/v3` on; told below `prefix`."""
    return {"resources": dict(_resource(path, prefix) for path in sorted(set(paths)))}


def _resource(path: str, prefix: str) -> tuple[str, dict[str, Any]]:
    parts = path.removeprefix("/v3").strip("/").split("/")
    extension = next((part for part in parts if part.startswith("OS-")), None)
    words = [part for part in parts if part != extension]
    named = [_singular(word) if words[at + 1 : at + 2] and _variable(words[at + 1]) else word
             for at, word in enumerate(words) if not _variable(word)]  # fmt: skip
    name = "_".join(named)
    below = f"{ROOT}/ext/{extension}/1.0" if extension else ROOT
    variables = {v: f"{ROOT}/param/{v}" for v in re.findall(r"\{(\w+)\}", path)}
    where = prefix + path.removeprefix("/v3")
    shown = {"href-template": where, "href-vars": variables} if variables else {"href": where}
    return f"{below}/rel/{IRREGULAR.get(name, name)}", shown


def _variable(part: str) -> bool:
    return part.startswith("{")


def _singular(word: str) -> str:
    return word[:-3] + "y" if word.endswith("ies") else word.removesuffix("s")
