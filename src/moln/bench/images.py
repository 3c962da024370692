"""What moving an image's data costs, listing many, and beginning a disk as one: `moln bench --images`.

By the server process's clock, as all rows; the children that look into images are not in it, nor is who asks. An upload is compared with
its hashes and a file written by themselves, a download with a bare handler that streams the same file.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moln.bench.load import cost, request
from moln.bench.process import Measured, apart, folder, measured
from moln.bench.root_disk import root_disk, root_disk_in_ceph
from moln.bench.rows import Row
from moln.demo.client import Client
from moln.host.settings import Disks

PIECE = 4 << 20
ROUNDS = 3
TOGETHER = 8
IMAGES = 1000
SHARE = 0.6  # of the speed of what it is compared with
LOOK_S = 0.05
NO_CEPH = Disks()


def measure(step: Callable[[str], object], size_mib: int, disks: Disks = NO_CEPH) -> list[Row]:
    """All rows. size_mib: of an image. disks: where this host keeps them. Raises: RuntimeError."""
    size = size_mib << 20
    with folder("moln-bench-") as home:
        log, plain = home / "log", home / "plain"
        step(f"{size_mib} MiB hashed and written by themselves")
        alone = min(write_alone(plain, size) for _ in range(ROUNDS))
        with apart(), measured("bare", "--file", str(plain), log=log) as bare:
            cloud_home = home / "cloud"
            cloud_home.mkdir()
            with measured("cloud", "--home", str(cloud_home), "--nodes", "1", log=log) as cloud:
                asking = Asking(cloud, cloud_home)
                step("eight uploads at once")
                rows = [_together(cloud, asking, size)]
                step("an upload, a download")
                rows = [*_data(cloud, bare, asking, size, alone), *rows]
                step(f"a list of {IMAGES:,} images")
                rows.append(_list(cloud, bare, asking))
        plain.unlink()
        step("root disks")
        return [*rows, root_disk(home / "disks", size), root_disk_in_ceph(home / "ceph", size, disks)]


def write_alone(path: Path, size: int) -> float:
    """Seconds of processor time for the hashes and the file, with nothing around them."""
    piece = os.urandom(PIECE)
    before = time.process_time()
    md5, sha512 = hashlib.md5(usedforsecurity=False), hashlib.sha512()
    with open(path, "wb", buffering=0) as file:
        for at in range(0, size, PIECE):
            part = piece[: min(PIECE, size - at)]
            md5.update(part)
            sha512.update(part)
            file.write(part)
        os.fsync(file.fileno())
    return time.process_time() - before


class Asking:
    """The administrator of a measured cloud."""

    def __init__(self, cloud: Measured, home: Path):
        self.port = cloud.port
        password = (home / "admin.password").read_text().strip()
        self.client = Client(f"http://127.0.0.1:{cloud.port}", user="admin", password=password, project="admin")

    def image(self, name: str = "bench") -> str:
        found: str = self.client.call("POST", "/image/v2/images", {"name": name, "disk_format": "raw", "container_format": "bare"})["id"]
        return found

    def upload(self, image: str, size: int) -> None:
        """Raises: RuntimeError."""
        head = (
            f"PUT /image/v2/images/{image}/file HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Auth-Token: {self.client._token}\r\n"
            f"Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
        )
        piece = memoryview(os.urandom(PIECE))
        with socket.create_connection(("127.0.0.1", self.port), timeout=600) as wire:
            wire.sendall(head.encode())
            for at in range(0, size, PIECE):
                wire.sendall(piece[: min(PIECE, size - at)])
            answer = wire.recv(1 << 16)
        if not answer.startswith(b"HTTP/1.1 204"):
            raise RuntimeError(f"an upload was answered {answer[:300].decode(errors='replace')}")

    def remove(self, image: str) -> None:
        self.client.call("DELETE", f"/image/v2/images/{image}")


def download(port: int, path: str, token: str, size: int) -> None:
    """Read so many bytes and forget them. Raises: RuntimeError."""
    asked = request("GET", path, X_Auth_Token=token)
    into = memoryview(bytearray(1 << 20))
    with socket.create_connection(("127.0.0.1", port), timeout=600) as wire:
        wire.sendall(asked)
        head = b""
        while b"\r\n\r\n" not in head:
            got = wire.recv(1 << 16)
            if not got:
                raise RuntimeError("a download was cut off")
            head += got
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise RuntimeError(f"a download was answered {head[:300].decode(errors='replace')}")
        left = size - len(head.partition(b"\r\n\r\n")[2])
        while left > 0:
            count = wire.recv_into(into)
            if not count:
                raise RuntimeError("a download was cut off")
            left -= count


def _took(server: Measured, act: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of the server's processor time, and of everybody's."""
    before, began = server.cpu_s(), time.monotonic()
    act()
    return server.cpu_s() - before, time.monotonic() - began


def _data(cloud: Measured, bare: Measured, asking: Asking, size: int, alone: float) -> list[Row]:
    uploads, downloads, plain = [], [], []
    for _ in range(ROUNDS):
        image = asking.image()
        uploads.append(_took(cloud, lambda image=image: asking.upload(image, size)))
        file = f"/image/v2/images/{image}/file"
        downloads.append(_took(cloud, lambda file=file: download(cloud.port, file, asking.client._token, size)))
        plain.append(_took(bare, lambda: download(bare.port, "/file", "", size)))
        asking.remove(image)
    up, down, bare_s = min(uploads), min(downloads), min(plain)
    mib = size >> 20
    return [
        Row(f"upload of {mib} MiB, to its hashes and a file alone", 1 / SHARE, "x", up[0] / alone, f"{up[0]:.2f} s to {alone:.2f} s; {mib / up[1]:.0f} MiB/s"),
        Row(f"download of {mib} MiB, to a bare streaming handler", 1 / SHARE, "x", down[0] / bare_s[0],
            f"{down[0]:.2f} s to {bare_s[0]:.2f} s; {mib / down[1]:.0f} MiB/s"),
    ]  # fmt: skip


def _together(cloud: Measured, asking: Asking, size: int) -> Row:
    """How much more memory the controller has at most, while several uploads run, than before any."""
    images = [asking.image(f"together-{n}") for n in range(TOGETHER)]
    idle, most, failed = cloud.pss_mib(), 0.0, []

    def one(image: str) -> None:
        try:
            asking.upload(image, size)
        except (RuntimeError, OSError) as error:
            failed.append(str(error))

    threads = [threading.Thread(target=one, args=[image]) for image in images]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        most = max(most, cloud.pss_mib())
        threads[0].join(LOOK_S)
        time.sleep(LOOK_S)
    if failed:
        raise RuntimeError(failed[0])
    for image in images:
        asking.remove(image)
    return Row(f"memory for {TOGETHER} uploads of {size >> 20} MiB at once, above idle", 64, "MiB", most - idle, f"{idle:.0f} MiB idle")


def _list(cloud: Measured, bare: Measured, asking: Asking) -> Row:
    for number in range(IMAGES):
        asking.image(f"image-{number}")
    asked = request("GET", f"/image/v2/images?limit={IMAGES}", X_Auth_Token=asking.client._token)
    found = cost(cloud, bare, lambda: asked, count=8)
    return Row(f"GET /v2/images, {IMAGES:,} of them", 60, "x", found.ratio, f"{found.cpu_us:.0f} µs to {found.bare_us:.0f} µs; {found.size:,} bytes")
