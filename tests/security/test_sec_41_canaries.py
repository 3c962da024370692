"""SEC-41 (OSSA-2019-003, 2017-001, -002, 2014-036): secrets planted everywhere come back in no answer and stand in no log.

Nor do paths of the host, statements or tracebacks come back: a fault says what its kind says, and the log has the rest.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests import databases
from tests.compute.world import World, world  # noqa: F401 (a fixture)

from moln.compute.drivers.fake import Fault
from moln.kernel import log
from moln.kernel.db import metadata

SOURCE = Path(__file__).parents[2] / "src/moln"
UUID = "11111111-1111-4111-8111-111111111111"
PASSWORD, PROGRAM, PASS, DATA, BLOB, SEED = (f"c4nary-{name}-Zq7" for name in ("password", "program", "adminpass", "userdata", "blob", "totp"))
INTERNALS = re.compile(r"Traceback|sqlite|asyncpg|SELECT |INSERT |UPDATE \w+ SET|\.py\b|/moln/|site-packages|argon2|/proc/|/root\b|0x[0-9a-f]{8}|<object|Struct\(")
FOREIGN = ("httpx", "httpcore", "asyncio", "websockets", "hypothesis")


class Seen:
    """Every answer, and every line that a log got."""

    def __init__(self, home: Path, caplog: pytest.LogCaptureFixture, access: io.StringIO):
        self.home, self._caplog, self._access = home, caplog, access
        self.answers: list[tuple[str, str]] = []

    async def note(self, answer: httpx.Response) -> None:
        await answer.aread()
        self.answers.append((f"{answer.request.method} {answer.request.url} {answer.status_code}", f"{answer.text} {dict(answer.headers)}"))

    def logged(self) -> str:
        log._access.write()
        lines = [log.JsonLines().format(record) for record in self._caplog.records if not record.name.startswith(FOREIGN)]
        audit = [file.read_text() for file in (self.home / "log/audit").glob("*")]
        return "\n".join([*lines, self._access.getvalue(), *audit])

    def keys(self) -> list[str]:
        """What the home keeps for itself: keys of tokens and credentials, and the first password."""
        kept = [path.read_text().strip() for path in self.home.rglob("*.key")]
        return [*kept, (self.home / "admin.password").read_text().strip()]


@pytest.fixture
async def seen(world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Seen:  # noqa: F811
    access = io.StringIO()
    monkeypatch.setattr(log._access, "stream", access)
    caplog.set_level(logging.DEBUG)
    found = Seen(world.cloud.home, caplog, access)
    for client in (world.api.admin, world.api.member, world.api.anonymous):
        client.event_hooks = {"response": [found.note]}
    return found


def sign_in(name: str, password: Any, **more: Any) -> dict[str, Any]:
    who = {"methods": ["password"], "password": {"user": {"name": name, "domain": {"id": "default"}, "password": password}}}
    return {"auth": {"identity": who, **more}}


async def plant(world: World) -> dict[str, str]:  # noqa: F811
    """Put the secrets where they belong. Ids by the path's variables."""
    admin, member = world.api.admin, world.api.member
    user = (await admin.post("/identity/v3/users", json={"user": {"name": "canary", "password": PASSWORD}})).json()["user"]["id"]
    me = (await member.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": member.headers["X-Auth-Token"]})).json()["token"]
    project = me["project"]["id"]
    server = await world.boot(adminPass=PASS, user_data=base64.b64encode(DATA.encode()).decode())
    made = await member.post("/identity/v3/credentials", json={"credential": {"type": "totp", "blob": SEED}})
    ec2 = {"type": "ec2", "blob": json.dumps({"access": "canary", "secret": BLOB}), "project_id": project}
    assert (await member.post("/identity/v3/credentials", json={"credential": ec2})).status_code == 201
    path = f"/identity/v3/users/{me['user']['id']}/application_credentials"
    program = (await member.post(path, json={"application_credential": {"name": "p", "secret": PROGRAM}})).json()["application_credential"]
    return {"user_id": user, "project_id": project, "server_id": server["id"], "credential_id": made.json()["credential"]["id"],
            "application_credential_id": program["id"], "image_id": world.image, "flavor_id": world.small, "network_id": world.network}  # fmt: skip


async def barrage(world: World, ids: dict[str, str]) -> None:  # noqa: F811
    """Everything that can be read, and requests that carry secrets where they do not belong."""
    admin, member, anonymous = world.api.admin, world.api.member, world.api.anonymous
    for route in world.api.app.routes:
        path = route.service.prefix + re.sub(r"{(\w+)}", lambda found: ids.get(found[1], UUID), route.path)
        if route.method == "GET":
            for client in (admin, member):
                await client.get(path, headers={"OpenStack-API-Version": "compute 2.95, volume 3.70, placement 1.39"})
        else:
            await anonymous.request(route.method, path, content=b'{"password": "' + PASSWORD.encode() + b'"}')
            if route.method != "DELETE":
                await member.request(route.method, path, content=b"{")
    bodies = [
        sign_in("canary", PASSWORD, scope={"project": {"id": "none"}}), sign_in("canary", [PASSWORD]), sign_in("canary", {"a": PASSWORD}),
        sign_in("nobody", PASSWORD), {"auth": {"identity": {"methods": [PASSWORD]}}}, {"auth": PASSWORD}, {PASSWORD: 1},
    ]  # fmt: skip
    for body in bodies:
        await anonymous.post("/identity/v3/auth/tokens", json=body)
    for token in (PASSWORD, admin.headers["X-Auth-Token"][:-3] + "abc"):
        await world.api.client(token).get(f"/identity/v3/users?password={PASSWORD}")
    await member.get("/compute/v2.1/servers", params={"token": PASSWORD, "marker": PASSWORD})


async def test_no_answer_and_no_log_holds_what_was_planted(world: World, seen: Seen) -> None:  # noqa: F811
    ids = await plant(world)
    told = len(seen.answers)  # what was answered until here was the secret's own maker
    await barrage(world, ids)
    logged = seen.logged()
    encoded = base64.b64encode(DATA.encode()).decode()
    own = {SEED: "/v3/credentials", BLOB: "/v3/credentials", encoded: f"/{ids['server_id']}"}  # where they are asked for
    for secret in (PASSWORD, PROGRAM, PASS, DATA, BLOB, SEED, encoded, *seen.keys()):
        assert secret not in logged, secret
        holding = [where for where, text in seen.answers[told:] if secret in text]
        echoes = [where for where in holding if own.get(secret, "\0") not in where]
        assert not echoes or secret == PASSWORD and all(" 400" in where for where in echoes), (secret, echoes)
    assert "c4nary" not in logged
    assert all(re.search(r"gAAAA[\w-]{20}", text) is None for where, text in seen.answers[told:])
    leaks = [(where, found[0]) for where, text in seen.answers for found in INTERNALS.finditer(text)]
    assert leaks == []
    told = [where.removeprefix("GET http://127.0.0.1:5000") for where, text in seen.answers if str(seen.home) in text]
    assert sorted(told) == ["/image/v2/images/{image_id}/locations 200".format(**ids), "/image/v2/info/stores/detail 200"], "to the admin, once each"


async def test_a_backends_failure_tells_its_owner_no_more_than_its_kind(world: World, seen: Seen) -> None:  # noqa: F811
    from moln.kernel.errors import BackendRefused

    real = world.api.nodes["sim-1"]
    real.faults["ensure_server"] = [Fault("refused", "The hypervisor refused.", times=99)]
    server = await world.boot()
    assert server["status"] == "ERROR" and server["fault"]["message"].endswith("aborted: The hypervisor refused.")
    shown = await world.show(server, admin=True)
    assert "Traceback" not in json.dumps(shown)
    assert str(BackendRefused("said", detail="secret")) == "said", "what is for the log travels apart"


async def test_a_broken_database_answers_500_and_says_nothing(world: World, seen: Seen) -> None:  # noqa: F811
    users = [name for name in metadata.tables if "user" in name]
    await databases.run_sql(world.cloud.home, *(f'ALTER TABLE "{name}" RENAME TO "gone_{name}"' for name in users))
    answer = await world.api.admin.post("/identity/v3/users", json={"user": {"name": "x", "password": PASSWORD}})
    assert answer.status_code in (500, 503), answer.text
    assert not INTERNALS.search(answer.text) and "gone" not in answer.text and "table" not in answer.text
    logged = seen.logged()
    assert "no such table" in logged or "does not exist" in logged, "the operator is told"
    assert PASSWORD not in logged


def messages() -> Iterator[tuple[str, str]]:
    """What failures of drivers say to a user, where that quotes a caught exception."""
    kinds = {"BackendRefused", "BackendUnreachable", "Unavailable", "Failure", "UnsupportedMedia", "TooLarge", "NotFound", "Conflict", "Gone"}
    for path in [*SOURCE.glob("*/drivers/*.py"), *SOURCE.glob("*/work/*.py"), *SOURCE.glob("*/ops/*.py"), *SOURCE.glob("node/*.py")]:
        for handler in (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ExceptHandler) and n.name):
            for call in (n for n in ast.walk(handler) if isinstance(n, ast.Call) and getattr(n.func, "id", "") in kinds and n.args):
                names = [n for n in ast.walk(call.args[0]) if isinstance(n, ast.Name) and n.id == handler.name]
                whole = [n for n in ast.walk(call.args[0]) if isinstance(n, ast.Attribute) and n.attr in ("message", "strerror")]
                if names and not whole:
                    yield f"{path.relative_to(SOURCE)}:{call.lineno}", ast.unparse(call.args[0])


def test_no_failure_quotes_an_exception_to_a_user() -> None:
    assert list(messages()) == [], "put it into detail="


def test_what_the_home_keeps_secret_only_its_user_reads(tmp_path: Path) -> None:
    from cryptography.fernet import Fernet

    from moln.identity.ops.keys import Keyring

    Keyring(tmp_path / "keys")
    assert (tmp_path / "keys").stat().st_mode & 0o077 == 0
    for path in (tmp_path / "keys").iterdir():
        assert path.stat().st_mode & 0o077 == 0 and Fernet(path.read_bytes().strip())
