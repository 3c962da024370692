"""`moln images`: the list is sound, digests are read as their makers write them, and nothing comes in without its own."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from moln.cli import curated
from moln.cli.curated import Curated, digest_in, fetch, load, upload
from moln.image.drivers.web import Allowed
from moln.kernel.errors import Failure, NotFound

DATA = b"a disk"


def image(algorithm: str = "sha256") -> Curated:
    return Curated("An image", "https://example.org/x/disk.qcow2", "https://example.org/x/SUMS", algorithm, {"os_distro": "x"})


def test_the_list_is_sound() -> None:
    for name, found in load().items():
        assert found.url.startswith("https://") and found.checksums.startswith("https://"), name
        assert Allowed().problem(found.url) is None and found.algorithm in curated.DIGITS, name
        assert found.properties["os_distro"] in name or found.properties["os_distro"] in found.title.lower()


@pytest.mark.parametrize("line", ["{} *disk.qcow2", "{}  disk.qcow2", "{}  ./disk.qcow2", "SHA256 (disk.qcow2) = {}"])
def test_digests_are_read_as_their_makers_write_them(line: str) -> None:
    digest = hashlib.sha256(DATA).hexdigest()
    sums = f"# disk\n{'0' * 64} *other-disk.qcow2\n{'1' * 64} *disk.qcow2.torrent\n{line.format(digest.upper())}\n"
    assert digest_in(sums, image()) == digest
    with pytest.raises(NotFound, match="no sha512 digest"):
        digest_in(sums, image("sha512"))


class Cloud:
    """What of Client is used; tasks: what each look finds."""

    def __init__(self, *tasks: dict[str, str]) -> None:
        self.calls: list[tuple[str, str, Any]] = []
        self.tasks = list(tasks)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        self.calls.append((method, path, json.loads(json.dumps(body))))
        return {"tasks": [self.tasks.pop(0)]} if path.endswith("/tasks") else {"id": "i"}

    def upload(self, path: str, file: Path) -> None:
        self.calls.append(("PUT", path, file.read_bytes()))


def test_a_mirrors_file_is_uploaded_if_it_is_what_its_list_says(tmp_path: Path) -> None:
    cloud: Any = Cloud()
    with pytest.raises(NotFound, match="copy it from https://example.org/x/disk.qcow2"):
        upload(cloud, "name", image(), tmp_path)
    (tmp_path / "disk.qcow2").write_bytes(DATA)
    (tmp_path / "SUMS").write_text(f"{'0' * 64} *disk.qcow2\n")
    with pytest.raises(Failure, match="damaged"):
        upload(cloud, "name", image(), tmp_path)
    assert cloud.calls == []
    (tmp_path / "SUMS").write_text(f"{hashlib.sha256(DATA).hexdigest()} *disk.qcow2\n")
    assert upload(cloud, "name", image(), tmp_path) == "i"
    assert [c[:2] for c in cloud.calls] == [("POST", "/image/v2/images"), ("PUT", "/image/v2/images/i/file")]
    assert cloud.calls[0][2]["os_distro"] == "x"


def test_the_cloud_is_told_the_digest_and_a_failed_fetch_leaves_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(DATA).hexdigest()
    monkeypatch.setattr(curated, "fetch_sums", lambda _: f"{digest} *disk.qcow2\n")
    monkeypatch.setattr(curated, "PAUSE_S", 0.0)
    said: list[str] = []
    busy = {"status": "processing", "message": "Copied 64 of 128 MiB"}
    cloud: Any = Cloud(busy, busy, {"status": "success", "message": ""})
    assert fetch(cloud, "name", image(), said.append) == "i"
    assert said == ["Copied 64 of 128 MiB"]
    wanted = {"url": image().url, "validation_data": {"os_hash_algo": "sha256", "os_hash_value": digest}}
    assert cloud.calls[1] == ("POST", "/image/v2/images/i/locations", wanted)
    cloud = Cloud({"status": "failure", "message": "The server answered 404."})
    with pytest.raises(Failure, match="The server answered 404"):
        fetch(cloud, "name", image(), said.append)
    assert cloud.calls[-1][:2] == ("DELETE", "/image/v2/images/i")
