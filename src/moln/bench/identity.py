"""Identity's rows: tokens, lists and assignments; with a million users, how much dearer than with a thousand."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moln.bench.directory import CHEAP_HASHER, HASHER, LARGE, SECRET, SMALL, Directory, Size, fill, user_id
from moln.bench.load import Cost, cost, request
from moln.bench.process import Measured, apart, folder, measured
from moln.bench.rows import Row
from moln.bench.tenant import quiet
from moln.demo.client import Client

TOKENS = "/identity/v3/auth/tokens"
PAGE = 100


class Asker:
    """Requests to one filled cloud, as its administrator and as the user who is in many groups."""

    def __init__(self, server: Measured, bare: Measured, home: Path, directory: Directory):
        self._server, self._bare, self.directory = server, bare, directory
        password = (home / "admin.password").read_text().strip()
        self.token = Client(f"http://127.0.0.1:{server.port}", user="admin", password=password, project="admin")._token

    def get(self, path: str, count: int) -> Cost:
        wanted = request("GET", f"/identity/v3/{path}", X_Auth_Token=self.token)
        return cost(self._server, self._bare, lambda: wanted, count=count)

    def each(self, paths: list[str], count: int) -> Cost:
        turn = itertools.cycle(paths)
        return cost(self._server, self._bare, lambda: request("GET", f"/identity/v3/{next(turn)}", X_Auth_Token=self.token), count=count)

    def validate(self) -> Cost:
        wanted = request("GET", TOKENS, X_Auth_Token=self.token, X_Subject_Token=self.token)
        return cost(self._server, self._bare, lambda: wanted, count=400)

    def issue(self, identity: dict[str, Any], scope: dict[str, Any] | None = None, *, count: int = 200) -> Cost:
        body = {"auth": {"identity": identity} | ({"scope": scope} if scope else {})}
        wanted = request("POST", TOKENS, json.dumps(body).encode())
        return cost(self._server, self._bare, lambda: wanted, count=count, status=201)

    def by_token(self) -> Cost:
        return self.issue({"methods": ["token"], "token": {"id": self.token}}, {"project": {"name": "admin", "domain": {"id": "default"}}})

    def by_password(self, user: str, count: int) -> Cost:
        who = {"user": {"name": user, "domain": {"id": "default"}, "password": SECRET}}
        return self.issue({"methods": ["password"], "password": who}, {"project": {"id": self.directory.projects[0]}}, count=count)

    def by_program(self) -> Cost:
        shown = {"id": self.directory.program, "secret": SECRET}
        return self.issue({"methods": ["application_credential"], "application_credential": shown})


def measure(step: Callable[[str], object], *, large: bool) -> list[Row]:
    """All rows; those of the large case only where it is asked for. Raises: RuntimeError."""
    with folder("moln-bench-identity-") as home, apart(), measured("bare", log=home / "log") as bare:
        step(f"{SMALL.users:,} users")
        with _cloud(home / "small", SMALL, home / "log", bare) as small:
            rows = _tokens(small, step) + _lists(small, step)
            before = _everyday(small) if large else {}
        if large:
            step(f"{LARGE.users:,} users and {LARGE.projects:,} projects")
            with _cloud(home / "large", LARGE, home / "log", bare) as filled:
                step("the same there")
                rows += [_grown(name, before[name], found) for name, found in _everyday(filled).items()]
    return rows


@contextmanager
def _cloud(home: Path, size: Size, log: Path, bare: Measured) -> Iterator[Asker]:
    home.mkdir()
    directory = fill(home, size)
    with measured("cloud", "--home", str(home), "--nodes", "0", log=log) as server:
        quiet(server)
        yield Asker(server, bare, home, directory)


def _row(name: str, limit: float | None, found: Cost, more: str = "") -> Row:
    return Row(name, limit, "x", found.ratio, f"{found.cpu_us:.0f} µs to {found.bare_us:.0f} µs; {found.size:,} bytes{more}")


def _tokens(asker: Asker, step: Callable[[str], object]) -> list[Row]:
    step("tokens")
    quick, hashed = asker.by_password("quick", 200), asker.by_password("hashed", 8)
    besides = (quick.cpu_us - CHEAP_HASHER.cost_us()) / quick.bare_us
    return [
        _row("validate a token", 2, asker.validate()),
        _row("issue a token by token", 6, asker.by_token()),
        _row("issue a token by application credential", 6, asker.by_program(), "; its secret was shown before"),
        Row("issue a token by password, besides the hash", 6, "x", besides,
            f"{quick.cpu_us:.0f} µs to {quick.bare_us:.0f} µs with a hash of {CHEAP_HASHER.cost_us():.0f} µs"),
        Row("issue a token by password, whole", None, "ms", hashed.cpu_us / 1000, f"the hash alone: {HASHER.cost_us() / 1000:.1f} ms"),
    ]


def _lists(asker: Asker, step: Callable[[str], object]) -> list[Row]:
    step("lists")
    many, project = asker.directory.member, asker.directory.projects[7]
    groups, projects = asker.directory.groups, len(asker.directory.projects)
    of = f"of a user in {groups} groups over {projects} projects"
    return [
        _row(f"list {SMALL.users:,} users", 60, asker.get("users", 16)),
        _row(f"effective assignments {of}, on one project", 10, asker.get(f"role_assignments?effective&user.id={many}&scope.project.id={project}", 100)),
        _row(f"effective assignments {of}, all", None, asker.get(f"role_assignments?effective&user.id={many}", 16)),
    ]


def _everyday(asker: Asker) -> dict[str, Cost]:
    """What must not grow with the number of users."""
    size = asker.directory.size
    some = [user_id(n * (size.users // 64)) for n in range(64)]
    middle = user_id(size.users // 2)
    return {
        "show a user": asker.each([f"users/{id_}" for id_ in some], 200),
        f"list a page of {PAGE} users": asker.get(f"users?limit={PAGE}&marker={middle}", 100),
        f"list a page of {PAGE} users by name": asker.get(f"users?limit={PAGE}&sort_key=name&marker={middle}", 100),
        "find a user by name": asker.get("users?name=user-7", 200),
        f"list a page of {PAGE} projects": asker.get(f"projects?limit={PAGE}", 100),
        "find a project by name": asker.get("projects?name=project-7", 200),
        "issue a token by token": asker.by_token(),
        "issue a token by password, besides the hash": asker.by_password("quick", 200),
    }


def _grown(name: str, small: Cost, large: Cost) -> Row:
    return Row(f"{name}, with {LARGE.users:,} users", 2, "x the small case", large.cpu_us / small.cpu_us, f"{large.cpu_us:.0f} µs to {small.cpu_us:.0f} µs")
