#!/usr/bin/env python3
"""Tempest, as PyPI has it, against a simulated cloud: `python tests/tempest/run.py [--smoke | --regex R] [--keep]`.

Makes a virtual environment for the suite (kept), starts a cloud (`moln up --simulate`), has discover-tempest-config write tempest.conf
(configuration.py adds what that leaves out), runs, prints counts and failures, and writes every test's outcome as JSON; --keep: into results.tsv, of which docs/compatibility.md
is made. Standard library only. excluded.txt, known_failures.txt: a line each, `what # why`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import venv
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[1] / "src"
sys.path.insert(0, str(HERE))

from configuration import Cloud, complete, discovery, parse_routes  # noqa: E402
from configuration import prepare as prepare_cloud  # noqa: E402

PACKAGES = ["tempest==47.0.0", "python-tempestconf==3.5.4"]
MOLN = "import sys; from moln.cli import main; sys.exit(main(sys.argv[1:]))"
KNOWN, EXCLUDED, RESULTS = HERE / "known_failures.txt", HERE / "excluded.txt", HERE / "results.tsv"
SMOKE = r"\[.*\bsmoke\b.*\]"  # Tempest's attributes are part of a test's id
EVERYTHING = rf"^tempest\.api\.(compute|identity|image|network|volume)\.|{SMOKE}"


def suite(folder: Path) -> Path:
    """The suite's own environment; made once."""
    python, stamp = folder / "bin" / "python", folder / "installed"
    if not stamp.exists() or stamp.read_text() != "\n".join(PACKAGES):
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES], check=True, timeout=1200)
        stamp.write_text("\n".join(PACKAGES))
    return python


def small_image(folder: Path) -> Path:
    """A real qcow2 of 64 MiB with a little in it, in a folder with a raw disk beside it, both for the web as well."""
    path, raw = folder / "images" / "tempest.qcow2", folder / "images" / "tempest.raw"
    if not path.exists() or not raw.exists():
        path.parent.mkdir(exist_ok=True)
        with raw.open("wb") as file:
            file.write(bytes(range(256)) * 64)
            file.truncate(64 << 20)
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path], check=True, timeout=60)
        os.truncate(raw, 1 << 20)
    return path


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextmanager
def web_of(folder: Path) -> Iterator[int]:
    """A web server on loopback that has this folder's files; its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def moln(home: Path, *arguments: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", MOLN, arguments[0], "--home", str(home), *arguments[1:]]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, cwd=home)
    if done.returncode:
        raise SystemExit(f"moln {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def prepare(python: Path, home: Path, port: int, nodes: int, image: Path, workspace: Path, web: int) -> None:
    """A running cloud with what the suite needs, and a workspace that knows it. web: the port at which images are served."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "moln.toml").write_text(f'[image]\nimport_allow = ["127.0.0.1:{web}"]\nstores = {{attic = "attic"}}\n')
    moln(home, "up", "--simulate", "--detach", "--port", str(port), "--nodes", str(nodes))
    cloud = Cloud(f"http://127.0.0.1:{port}", (home / "admin.password").read_text().strip())
    prepare_cloud(cloud)
    if not (workspace / "etc").exists():
        known = ["--workspace-path", workspace.parent / f"{workspace.name}.yaml"]  # not the user's own list of workspaces
        subprocess.run([python.parent / "tempest", "init", *known, workspace], check=True, capture_output=True, timeout=120)
    conf = workspace / "etc" / "tempest.conf"
    discover = [python.parent / "discover-tempest-config", "--create", "--no-default-deployer", "--image", image, "--out", conf]
    done = subprocess.run(discover, env=os.environ | discovery(cloud), cwd=workspace, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise SystemExit(f"discover-tempest-config: {done.returncode}\n{done.stderr[-4000:]}")
    complete(conf, cloud, parse_routes(moln(home, "routes")), image, workspace, f"http://127.0.0.1:{web}")


def outcomes(python: Path, workspace: Path) -> list[dict[str, Any]]:
    """Every test of the last run: name, status, reason, seconds."""
    stream = subprocess.run([python.parent / "stestr", "last", "--subunit"], cwd=workspace, capture_output=True, timeout=300).stdout
    decoded = subprocess.run([python, HERE / "decode.py"], input=stream, capture_output=True, timeout=300, check=True).stdout
    found: list[dict[str, Any]] = json.loads(decoded)
    return found


def counts(tests: list[dict[str, Any]]) -> dict[str, Counter[str]]:
    """By tempest.api.<area>."""
    made: dict[str, Counter[str]] = {}
    for test in tests:
        area = ".".join(test["name"].split(".")[:3])
        made.setdefault(area, Counter())[test["status"]] += 1
    return made


def remarks(path: Path) -> list[str]:
    """What a file of `what # why` speaks of."""
    return [what for line in path.read_text().splitlines() if (what := line.partition("#")[0].strip())]


def unknown_failures(tests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    known = set(remarks(KNOWN))
    return [test for test in tests if test["status"] == "fail" and test["name"] not in known]


def keep(tests: list[dict[str, Any]]) -> None:
    """results.tsv: name, status, whether it is smoke, and why it was skipped."""
    lines = ["name\tstatus\tsmoke\treason"]
    for test in sorted(tests, key=lambda t: str(t["name"])):
        why = " ".join(test["reason"].split()) if test["status"] == "skip" else ""
        lines.append("\t".join([test["name"], test["status"], "smoke" if test["smoke"] else "", why]))
    RESULTS.write_text("\n".join([*lines, ""]))


def report(tests: list[dict[str, Any]], seconds: bool) -> int:
    """Print it. Returns how many failed that are not written down as known."""
    known = set(remarks(KNOWN))
    print(f"{'':28}{'passed':>8}{'failed':>8}{'skipped':>8}")
    total: Counter[str] = Counter()
    for area, seen in sorted(counts(tests).items()):
        total += seen
        print(f"{area:28}{seen['success']:8}{seen['fail']:8}{seen['skip']:8}")
    print(f"{'all':28}{total['success']:8}{total['fail']:8}{total['skip']:8}")
    failed = [test for test in tests if test["status"] == "fail"]
    for test in failed:
        print(f"FAIL {'(known) ' if test['name'] in known else ''}{test['name']}\n     {test['reason'].strip().splitlines()[-1] if test['reason'] else ''}")
    if seconds:
        for test in sorted(tests, key=lambda t: -float(t["seconds"]))[:15]:
            print(f"{test['seconds']:8.1f} s {test['name']}")
    return sum(test["name"] not in known for test in failed)


def run(cache: Path, regex: str, workers: int, nodes: int, timeout_s: float, kept: Path | None = None) -> list[dict[str, Any]]:
    """What the tests that match came to. kept: the cloud's home, left running."""
    cache.mkdir(parents=True, exist_ok=True)
    python, image = suite(cache / f"venv-{zlib.crc32(repr(PACKAGES).encode()):08x}"), small_image(cache)
    folder = Path(tempfile.mkdtemp(prefix="moln-tempest-"))
    home, workspace = kept or folder / "home", folder / "workspace"
    try:
        with web_of(image.parent) as web:
            prepare(python, home, free_port(), nodes, image, workspace, web)
            command = [python.parent / "tempest", "run", "--concurrency", str(workers), "--regex", regex]
            command += ["--exclude-regex", "|".join(remarks(EXCLUDED))]
            try:
                subprocess.run(command, cwd=workspace, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=timeout_s)
            except subprocess.TimeoutExpired:
                print(f"not done after {timeout_s} s; what is below is what had been", file=sys.stderr)
            return outcomes(python, workspace)
    finally:
        if kept is None:
            moln(home, "down")
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"left: {home}, {workspace}")


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--smoke", action="store_true", help="the tests that Tempest marks so")
    asked.add_argument("--regex", default=EVERYTHING)
    asked.add_argument("--keep", action="store_true", help="write results.tsv")
    asked.add_argument("--workers", type=int, default=2)
    asked.add_argument("--nodes", type=int, default=2)
    asked.add_argument("--cache", type=Path, default=Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "moln-tempest")
    asked.add_argument("--home", type=Path, help="keep the cloud's home here, running, to look at afterwards")
    asked.add_argument("--out", type=Path, default=Path("tempest.json"))
    asked.add_argument("--timeout-s", type=int, default=5400)
    options = asked.parse_args()
    tests = run(options.cache, SMOKE if options.smoke else options.regex, options.workers, options.nodes, options.timeout_s, options.home)
    options.out.write_text(json.dumps({"suite": PACKAGES, "tests": tests}, indent=1))
    if options.keep:
        keep(tests)
    return 1 if report(tests, seconds=True) or not tests else 0


if __name__ == "__main__":
    sys.exit(main())
