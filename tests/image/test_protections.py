"""Properties that only some roles may see or change."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.image.asking import PATCH
from tests.image.conftest import Settings
from tests.wire.areas import areas

import moln.image.module as image_module
from moln.image.model.protections import Protection, Protections
from moln.image.settings import ImageSettings

RULES = {
    "x_billing_": Protection(create=["admin"], read=["admin", "member"], update=["admin"], delete=["admin"]),
    "x_secret": Protection(create=["admin"], read=["admin"]),
    ".*": Protection(create=["@"], read=["@"], update=["@"], delete=["@"]),
}


def test_the_first_rule_that_matches_decides() -> None:
    rules = Protections(RULES | {"x_secret_never_reached": Protection(read=["@"])})
    member = frozenset({"member", "reader"})
    assert rules.allows("x_billing_code", "read", member) and not rules.allows("x_billing_code", "update", member)
    assert not rules.allows("x_secret_never_reached", "read", member)
    assert rules.allows("colour", "delete", frozenset())
    assert not Protections({"a": Protection(read=["@"])}).allows("b", "read", frozenset({"admin"}))
    assert not Protections({"a": Protection(read=["!", "admin"])}).allows("a", "read", frozenset({"admin"}))
    with pytest.raises(ValueError, match="no regular expression"):
        Protections({"(": Protection()})


async def test_who_sees_and_changes_what(tmp_path: Path) -> None:
    settings = Settings(simulate=True, image=ImageSettings(protected_properties=RULES))
    async with areas(tmp_path, settings, [image_module.module(settings)]) as api:
        admin, alice = api.client("admin/admin", "/image"), api.client("red/member", "/image")
        body = {"name": "i", "owner": "red", "x_billing_code": "7", "x_secret": "s", "colour": "red"}
        image = (await admin.post("/v2/images", json=body)).json()
        assert (image["x_secret"], image["x_billing_code"]) == ("s", "7")
        seen = (await alice.get(image["self"])).json()
        assert (seen["x_billing_code"], seen["colour"], seen.get("x_secret")) == ("7", "red", None)
        assert "x_secret" not in (await alice.get("/v2/images")).json()["images"][0]
        for query, count in (("x_secret=s", 0), ("x_billing_code=7", 1)):
            assert len((await alice.get(f"/v2/images?{query}")).json()["images"]) == count
        assert (await alice.post("/v2/images", json={"name": "j", "x_billing_code": "8"})).status_code == 403
        for op, name, status in (
            ("replace", "x_billing_code", 403), ("remove", "x_billing_code", 403), ("add", "x_billing_other", 403), ("replace", "x_secret", 404),
            ("remove", "x_secret", 404), ("replace", "colour", 200), ("remove", "colour", 200),
        ):  # fmt: skip
            change = {"op": op, "path": f"/{name}"} | ({} if op == "remove" else {"value": "v"})
            answer = await alice.patch(image["self"], json=[change], headers=PATCH)
            assert answer.status_code == status, (op, name, answer.text)
            assert "x_secret" not in (answer.json() if status == 200 else {})
        answer = await admin.patch(image["self"], json=[{"op": "replace", "path": "/x_secret", "value": "t"}], headers=PATCH)
        assert answer.status_code == 403, "nobody may"
        assert (await admin.get(image["self"])).json()["x_secret"] == "s"
