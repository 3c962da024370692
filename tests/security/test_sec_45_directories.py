"""SEC-45 (OSSA-2026-007, OSSA-2013-015) for users of a directory: who is disabled there is refused however that is written, and nobody gets
in without a password, though the server itself says yes to a bind without one.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.identity import slapd
from tests.identity.conftest import Keystone, keystone  # noqa: F401 (a fixture)
from tests.identity.slapd import PEOPLE, READER, READER_PASSWORD, SUFFIX, Slapd

from moln.identity.model.ldap import is_enabled, options_of

ATTRIBUTE = "employeetype"


@pytest.mark.parametrize("said", ["FALSE", "false", "False", "0", "no", "off", " ", "disabled", "TRUEISH", "-1", "None", "\u0661"])
def test_what_is_no_clear_yes_is_a_no(said: str) -> None:
    options = options_of({"user_enabled_attribute": ATTRIBUTE})
    assert not is_enabled(options, {ATTRIBUTE: [said.encode()]})


@pytest.mark.parametrize("said", ["TRUE", "true", "True", "1", "yes"])
def test_a_clear_yes_is_one(said: str) -> None:
    options = options_of({"user_enabled_attribute": ATTRIBUTE})
    assert is_enabled(options, {ATTRIBUTE: [said.encode()]})
    assert not is_enabled(options_of({"user_enabled_attribute": ATTRIBUTE, "user_enabled_invert": True}), {ATTRIBUTE: [said.encode()]})


def test_what_is_not_said_is_as_the_default_has_it() -> None:
    assert not is_enabled(options_of({"user_enabled_default": "False"}), {}) and is_enabled(options_of({}), {})
    masked = {"user_enabled_mask": 2, "user_enabled_default": "512"}
    assert is_enabled(options_of(masked), {}) and not is_enabled(options_of(masked | {"user_enabled_default": "514"}), {})
    assert not is_enabled(options_of(masked), {"enabled": [b"514"]}) and not is_enabled(options_of(masked), {"enabled": [b"TRUE"]})
    assert not is_enabled(options_of({"user_enabled_mask": 2}), {}), "the default True has no bits"


@pytest.mark.skipif(not slapd.THERE, reason="slapd is not installed")
async def test_neither_gets_in(keystone: Keystone, tmp_path: Path) -> None:  # noqa: F811
    server = Slapd(tmp_path / "slapd")
    try:
        ada = server.person("ada", "analytical", kind="TRUE")
        for at, said in enumerate(("FALSE", "false", "0")):
            server.person(f"out{at}", "analytical", kind=said)
        bare = subprocess.run(["ldapwhoami", "-x", "-H", server.url, "-D", ada, "-w", ""], capture_output=True, text=True, timeout=30, check=False)  # noqa: ASYNC221
        assert bare.returncode == 0 and bare.stdout.strip() == "anonymous", "the server takes it for nobody's, and says yes"
        domain = await keystone.make("domain", name="corp")
        config = {"identity": {"driver": "ldap"}, "ldap": {
            "url": server.url, "user": READER, "password": READER_PASSWORD, "suffix": SUFFIX, "user_tree_dn": PEOPLE, "user_id_attribute": "uid",
            "user_name_attribute": "uid", "group_tree_dn": f"ou=groups,{SUFFIX}", "user_enabled_attribute": "employeeType",
        }}  # fmt: skip
        path = f"/v3/domains/{domain['id']}/config"
        assert (await keystone.admin.put(path, json={"config": config})).status_code == 201

        async def status(name: str, password: str) -> int:
            user = {"name": name, "domain": {"id": domain["id"]}, "password": password}
            return (await keystone.ask({"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}})).status_code

        assert await status("ada", "analytical") == 201
        for name, password in (("ada", ""), ("ada", "\u00ad"), *((f"out{at}", "analytical") for at in range(3)), ("", ""), ("", "analytical")):
            assert await status(name, password) == 401, (name, password)
        assert (await keystone.admin.delete(path)).status_code == 204
    finally:
        server.stop()
