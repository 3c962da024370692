"""The curated list of cloud images, and how one comes into the cloud: fetched by it from its maker, or uploaded from a mirror's folder.

Either way the bytes must have the digest that the maker's own list says, or there is no image.
"""

from __future__ import annotations

import hashlib
import re
import time
import tomllib
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from moln.demo.client import Client
from moln.kernel.errors import Failure, NotFound

LIST = Path(__file__).with_name("images.toml")
SUMS_BOUND = 1 << 20  # bytes of a list of digests
SUMS_S = 60.0
PAUSE_S = 1.0  # between two looks at a task: the public API has no event to wait for
DIGITS = {"sha256": 64, "sha512": 128}


class Curated(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An image that can be had by name. checksums: the address of its maker's list of digests."""

    title: str
    url: str
    checksums: str
    algorithm: str
    properties: dict[str, str] = {}
    disk_format: str = "qcow2"

    @property
    def file(self) -> str:
        return self.url.rpartition("/")[2]


def load(path: Path = LIST) -> dict[str, Curated]:
    """The list, by name."""
    return msgspec.convert(tomllib.loads(path.read_text("utf-8")), dict[str, Curated])


def digest_in(sums: str, image: Curated) -> str:
    """The image's line in what sha256sum or BSD's tools wrote. Raises: NotFound."""
    digits = DIGITS[image.algorithm]
    name = re.escape(image.file)
    plain = rf"^(?P<plain>[0-9a-fA-F]{{{digits}}}) [ *](?:\./)?{name}$"
    bsd = rf"^{image.algorithm} \({name}\) = (?P<bsd>[0-9a-fA-F]{{{digits}}})$"
    found = re.search(f"{plain}|{bsd}", sums, re.MULTILINE | re.IGNORECASE)
    if found is None:
        raise NotFound(f"{image.checksums} has no {image.algorithm} digest of {image.file}.")
    return (found["plain"] or found["bsd"]).lower()


def fetch_sums(image: Curated) -> str:
    """Raises: OSError."""
    request = urllib.request.Request(image.checksums, headers={"User-Agent": "moln"})
    with urllib.request.urlopen(request, timeout=SUMS_S) as answer:
        text: bytes = answer.read(SUMS_BOUND)
    return text.decode("utf-8", "replace")


def mirrored(image: Curated, folder: Path) -> tuple[Path, str]:
    """The image's file in a mirror's folder, and the digest that the list beside it says. Raises: NotFound."""
    file, sums = folder / image.file, folder / image.checksums.rpartition("/")[2]
    for wanted in (file, sums):
        if not wanted.is_file():
            raise NotFound(f"{wanted} is not there: copy it from {image.url if wanted is file else image.checksums}.")
    return file, digest_in(sums.read_text("utf-8", "replace"), image)


def body(name: str, image: Curated) -> dict[str, Any]:
    return {"name": name, "disk_format": image.disk_format, "container_format": "bare", "visibility": "public"} | image.properties


def upload(client: Client, name: str, image: Curated, folder: Path) -> str:
    """Bring it from a mirror's folder; the image's id. Raises: NotFound, Failure, DemoError."""
    file, digest = mirrored(image, folder)
    with file.open("rb") as data:
        found = hashlib.file_digest(data, image.algorithm).hexdigest()
    if found != digest:
        raise Failure(f"{file} is damaged: its {image.algorithm} digest is {found}, and {digest} in the list.")
    made = client.call("POST", "/image/v2/images", body(name, image))
    client.upload(f"/image/v2/images/{made['id']}/file", file)
    return str(made["id"])


def fetch(client: Client, name: str, image: Curated, tell: Callable[[str], None]) -> str:
    """Have the cloud fetch it; the image's id. Raises: NotFound, Failure, OSError, DemoError."""
    digest = digest_in(fetch_sums(image), image)
    made = client.call("POST", "/image/v2/images", body(name, image))
    here = f"/image/v2/images/{made['id']}"
    wanted = {"url": image.url, "validation_data": {"os_hash_algo": image.algorithm, "os_hash_value": digest}}
    try:
        client.call("POST", f"{here}/locations", wanted)
        told = ""
        while True:
            [task] = client.call("GET", f"{here}/tasks")["tasks"]
            if task["status"] == "failure":
                raise Failure(f"The cloud could not fetch {image.url}: {task['message']}")
            if task["status"] == "success":
                return str(made["id"])
            if task["message"] != told:
                told = task["message"]
                tell(told)
            time.sleep(PAUSE_S)
    except BaseException:
        client.call("DELETE", here)
        raise
