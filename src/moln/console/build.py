"""Brings the libraries of the consoles' pages from npm: `python -m moln.console.build [--home HOME]`. `moln up` does it by itself.

npm only fetches the packages; none of their scripts run, and each must be the very bytes that are named here.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

from moln.console.library import installed, places

NPM_S = 120.0


class Package(NamedTuple):
    """integrity: SHA-512 of the tarball in base64, as npm's lock files have it. files: what is taken, by first folders or whole names."""

    name: str
    version: str
    integrity: str
    folder: str
    files: tuple[str, ...]


PACKAGES = (
    Package("@novnc/novnc", "1.7.0", "ucEJOx4T2avIRCleodk7YobZj5O2Ga2AeLfQ69A/yjG9HHba2+PDgwSkN3FttrmG+70ZGx21sElNFouK13RzyA==",
            "novnc", ("core/", "vendor/", "LICENSE.txt", "AUTHORS", "docs/LICENSE")),
    Package("@xterm/xterm", "6.0.0", "TQwDdQGtwwDt+2cgKDLn0IRaSxYu1tSUjgKarSDkUM0ZNiSRXFpjxEsvc/Zgc5kq5omJ+V0a8/kIM2WD3sMOYg==",
            "xterm", ("lib/xterm.mjs", "css/xterm.css", "LICENSE")),
    Package("@xterm/addon-fit", "0.11.0", "jYcgT6xtVYhnhgxh3QgYDnnNMYTcf8ElbxxFzX0IZo+vabQqSPAjC3c1wJrKB5E19VwQei89QCiZZP86DCPF7g==",
            "xterm-fit", ("lib/addon-fit.mjs", "LICENSE")),
)  # fmt: skip


class BuildError(Exception):
    """The libraries could not be brought; the message says what to do."""


def ensure(home: Path) -> str:
    """Have the libraries, in the installation if it can be written, else in the home. What was done, "" for nothing. Raises: BuildError."""
    if installed(home):
        return ""
    npm = shutil.which("npm", path=os.environ.get("PATH", "") + ":/usr/local/bin:/usr/bin:/bin")
    if npm is None:
        raise BuildError("npm is not installed")
    place = next(p for p in places(home) if _writable(p.parent))
    with tempfile.TemporaryDirectory(prefix="moln-console-") as folder:
        made = Path(folder) / "made"
        for package in PACKAGES:
            _unpack(_fetch(npm, package, Path(folder)), package, made / package.folder)
        for made_folder in (path for path in made.rglob("*") if path.is_dir()):
            made_folder.chmod(0o755)  # whatever the umask: the controller is another user
        place.parent.mkdir(parents=True, exist_ok=True)
        hidden = Path(tempfile.mkdtemp(prefix=".moln-console-", dir=place.parent))
        try:
            shutil.copytree(made, hidden, dirs_exist_ok=True)
            hidden.chmod(0o755)
            hidden.rename(place)
        except OSError:
            shutil.rmtree(hidden, ignore_errors=True)
            if not place.is_dir():  # else another was faster
                raise
    return f"pages of consoles in {place}"


def _writable(folder: Path) -> bool:
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK)


def _fetch(npm: str, package: Package, folder: Path) -> Path:
    """The tarball, checked. Raises: BuildError."""
    options = ["--ignore-scripts", "--silent", "--fetch-retries=0", "--pack-destination", str(folder)]
    command = [npm, "pack", *options, f"{package.name}@{package.version}"]
    env = {**os.environ, "npm_config_cache": str(folder / "cache"), "npm_config_update_notifier": "false"}
    try:
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=NPM_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"npm did not bring {package.name} ({type(error).__name__})") from None
    found = folder / f"{package.name.removeprefix('@').replace('/', '-')}-{package.version}.tgz"
    if done.returncode or not found.exists():
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise BuildError(f"npm did not bring {package.name}: {said[0] if said else done.returncode}")
    if base64.b64encode(hashlib.sha512(found.read_bytes()).digest()).decode() != package.integrity:
        raise BuildError(f"{package.name} {package.version} is not the package that it was")
    return found


def _unpack(tarball: Path, package: Package, into: Path) -> None:
    """The files wanted. A name is used only after it is one of those, and nothing but regular files is taken."""
    with tarfile.open(tarball) as archive:
        for member in archive:
            name = member.name.removeprefix("package/")
            if member.isfile() and ".." not in name.split("/") and name.startswith(package.files):
                source = archive.extractfile(member)
                assert source is not None
                target = into / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read())
                target.chmod(0o644)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="moln.console.build", description=__doc__)
    parser.add_argument("--home", type=Path, default=Path.cwd(), help="a cloud's home, for an installation that cannot be written")
    try:
        print(ensure(parser.parse_args(argv).home) or "they are there")
    except BuildError as error:
        print(f"moln.console.build: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
