"""The archive of a cloud: a gzipped tar of manifest.json, the database, and what of the home makes it this cloud.

Servers' disks, volumes and images are not in it: they are the pool's.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path

import msgspec

from moln.host.run import HostError

MANIFEST, DATABASE = "manifest.json", "cloud.db"
FORMAT = 1
FOLDERS = ("keys", "credential-keys", "tls", "nats", "controllers", "policy", "fence", "certificates")
FILES = ("moln.toml", "admin.password", "host/machine.json", "host/up.json")


class Entry(msgspec.Struct, frozen=True):
    """A file. mode: its permissions. root: whether root owns it, where the controller is another user."""

    sha256: str
    size: int
    mode: int = 0o600
    root: bool = False


class Manifest(msgspec.Struct, frozen=True):
    """made: by which version. simulate: whether its nodes were. postgresql: whether the cloud was on it."""

    format: int
    made: str
    at: str
    simulate: bool
    postgresql: bool
    files: dict[str, Entry]


def found(home: Path) -> list[str]:
    """What of a home belongs into a backup, but for the database."""
    below = [file for folder in FOLDERS for file in sorted((home / folder).rglob("*")) if file.is_file()]
    return [*(name for name in FILES if (home / name).is_file()), *(str(file.relative_to(home)) for file in below)]


def entry(path: Path) -> Entry:
    at = path.stat()
    with open(path, "rb") as file:
        return Entry(hashlib.file_digest(file, "sha256").hexdigest(), at.st_size, at.st_mode & 0o777, at.st_uid == 0)


def write(file: Path, home: Path, database: Path, manifest: Manifest) -> None:
    """The whole archive or none, its owner's alone. Raises: HostError, when something changed since the manifest."""
    new = file.with_name(file.name + ".new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as raw:
        os.fchmod(raw.fileno(), 0o600)
        with tarfile.open(fileobj=raw, mode="w:gz", compresslevel=3) as tar:
            _add(tar, MANIFEST, io.BytesIO(msgspec.json.encode(manifest)), len(msgspec.json.encode(manifest)))
            for name, of in manifest.files.items():
                with open(database if name == DATABASE else home / name, "rb") as source:
                    if os.fstat(source.fileno()).st_size != of.size:
                        raise HostError(f"{name} changed during the backup; try again")
                    _add(tar, name, source, of.size)
        raw.flush()
        os.fsync(raw.fileno())
    new.replace(file)


def _add(tar: tarfile.TarFile, name: str, source: io.BufferedIOBase, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    tar.addfile(info, source)


def read(file: Path, folder: Path) -> Manifest:
    """Unpack into an empty folder. Raises: HostError, unless every file is the one that was saved."""
    try:
        with tarfile.open(file, "r:gz") as tar:
            manifest = _manifest(tar)
            for member in tar:
                _unpack(tar, member, folder, manifest)
    except (tarfile.TarError, EOFError, OSError, msgspec.MsgspecError) as error:
        raise HostError(f"{file} is no backup that can be read ({error})") from None
    if missing := [name for name in manifest.files if not (folder / name).is_file()]:
        raise HostError(f"{file} lacks {', '.join(missing)}")
    return manifest


def _manifest(tar: tarfile.TarFile) -> Manifest:
    first = tar.next()
    source = tar.extractfile(first) if first is not None and first.name == MANIFEST else None
    if source is None:
        raise HostError(f"{tar.name} is no backup of a cloud: it does not begin with {MANIFEST}")
    manifest = msgspec.json.decode(source.read(16 << 20), type=Manifest)
    if manifest.format != FORMAT:
        raise HostError(f"This backup has format {manifest.format}, made by Moln {manifest.made}; this version reads format {FORMAT}.")
    return manifest


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, manifest: Manifest) -> None:
    """One file, with the name and the contents that the manifest tells."""
    if member.name == MANIFEST:
        return
    of, source = manifest.files.get(member.name), tar.extractfile(member) if member.isfile() else None
    parts = Path(member.name).parts
    if of is None or source is None or member.name.startswith("/") or ".." in parts:
        raise HostError(f"The backup holds {member.name}, which its manifest does not tell of")
    path = folder / member.name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        while data := source.read(1 << 20):
            digest.update(data)
            out.write(data)
    if digest.hexdigest() != of.sha256:
        raise HostError(f"{member.name} is not what was saved: its hash differs")
