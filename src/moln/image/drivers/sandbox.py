"""Looks into what users uploaded, only ever in a child process with hard limits (see sandbox_child.py)."""

from __future__ import annotations

import asyncio
import errno
import json
import sys
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from moln.image.model.formats import QEMU_NAME, mismatch
from moln.kernel.errors import TooLarge, Unavailable, UnsupportedMedia

CHILD = Path(__file__).with_name("sandbox_child.py")
SNIFF_LIMITS = {"cpu_s": 20, "memory": 1 << 30, "file_size": 0}
SNIFF_S = 60.0
INFO_LIMITS = {"cpu_s": 20, "memory": 1 << 30, "file_size": 0}
CONVERT_CPU_S = 1800
CONVERT_MEMORY = 2 << 30
CONVERT_S = 3600.0
TABLES = 64 << 20  # bytes that a format's own tables may take beside a disk, and a 64th of the disk
OUTPUT = 1 << 20  # bytes of a child's answer that are read


class Content(Struct, frozen=True):
    """What an image holds. virtual_size: bytes a guest would see; None when the file is the disk as it is."""

    formats: frozenset[str]
    virtual_size: int | None


class Sandbox:
    """Sniffs and converts. at_once: children at a time; max_virtual: bytes a disk may promise; qemu_img: the program."""

    def __init__(self, *, at_once: int = 2, max_virtual: int = 16 << 40, qemu_img: str = "qemu-img"):
        self.max_virtual = max_virtual
        self.qemu_img = qemu_img
        self.turns = asyncio.Semaphore(at_once)

    async def check(self, file: int, disk_format: str, *, ask_qemu: bool = True) -> Content:
        """Judge the content of an open file. ask_qemu: whether QEMU has the last word on what a rich format holds.

        Raises: UnsupportedMedia, when it is unsafe or not what it claims to be.
        """
        status, output = await self.run(SNIFF_LIMITS, "sniff", stdin=file, timeout_s=SNIFF_S)
        try:
            if status:
                raise ValueError(status)
            answer = json.loads(output)
        except ValueError as error:
            detail = f"{status}: {output[-500:]!r}"
            raise UnsupportedMedia("The image's content could not be inspected.", detail=detail) from error
        found = frozenset(answer["formats"])
        if why := mismatch(disk_format, set(found)):
            raise UnsupportedMedia(why)
        if answer["unsafe"]:
            raise UnsupportedMedia("The image failed the safety checks.", detail="; ".join(answer["unsafe"]))
        if disk_format not in QEMU_NAME:
            return Content(found, None)
        virtual = await self.virtual_size(file, disk_format) if ask_qemu else int(answer["virtual_size"])
        if not 0 < virtual <= self.max_virtual:
            raise UnsupportedMedia("The disk inside the image is empty or too large.", detail=str(virtual))
        return Content(found, virtual)

    async def virtual_size(self, file: int, disk_format: str) -> int:
        """What QEMU itself makes of a file that passed the sniffer; it must name no other file. Raises: UnsupportedMedia."""
        status, output = await self.run(
            INFO_LIMITS, "exec", self.qemu_img, "info", "-f", QEMU_NAME[disk_format], "--output=json",
            f"/proc/self/fd/{file}", fds=(file,), timeout_s=SNIFF_S,
        )  # fmt: skip
        try:
            if status:
                raise ValueError(status)
            info = json.loads(output)
            size = int(info["virtual-size"])
        except (ValueError, KeyError, TypeError) as error:
            detail = f"{status}: {output[-500:]!r}"
            raise UnsupportedMedia("The image is damaged, or of a kind that cannot be used.", detail=detail) from error
        special = info.get("format-specific", {}).get("data", {})
        if "backing-filename" in info or "data-file" in special or info.get("encrypted"):
            raise UnsupportedMedia("The image refers to another file, or is encrypted.")
        return size

    async def convert(self, file: int, disk_format: str, target: int, virtual_size: int, output_format: str = "raw") -> None:
        """Write the disk inside `file` to `target`: an empty file, for raw already of virtual_size. Raises: UnsupportedMedia."""
        raw = output_format == "raw"
        limits = {"cpu_s": CONVERT_CPU_S, "memory": CONVERT_MEMORY, "file_size": virtual_size + (0 if raw else TABLES + virtual_size // 64)}
        status, output = await self.run(
            limits, "exec", self.qemu_img, "convert", *(("-n", "--target-is-zero") if raw else ()), "-S", "64k", "-m", "4", "-W",
            "-f", QEMU_NAME.get(disk_format, "raw"), "-O", output_format, f"/proc/self/fd/{file}", f"/proc/self/fd/{target}",
            fds=(file, target), timeout_s=CONVERT_S,
        )  # fmt: skip
        if status:
            detail = f"{status}: {output[-500:]!r}"
            raise UnsupportedMedia("The image is damaged and could not be converted.", detail=detail)

    async def unpack(self, file: int, kind: str, target: int, most: int) -> None:
        """Write what a compressed file holds to an empty one, at most so many bytes. Raises: UnsupportedMedia, TooLarge."""
        limits = {"cpu_s": CONVERT_CPU_S, "memory": CONVERT_MEMORY, "file_size": most}
        status, output = await self.run(limits, "unpack", kind, str(target), stdin=file, fds=(target,), timeout_s=CONVERT_S)
        if status in (errno.EFBIG, errno.ENOSPC, errno.EDQUOT):
            raise TooLarge(f"What is inside the {kind} file is larger than {most} bytes, or than the store has room for.")
        if status:
            raise UnsupportedMedia(f"The {kind} file is damaged, or not one image.", detail=f"{status}: {output[-500:]!r}")

    async def run(
        self, limits: dict[str, int], *args: str, timeout_s: float, stdin: int | None = None, fds: tuple[int, ...] = ()
    ) -> tuple[int, bytes]:
        """The child's exit status and what it said on both outputs; one that outlives timeout_s is killed (status -9)."""
        async with self.turns:
            try:
                child = await asyncio.create_subprocess_exec(
                    sys.executable, "-I", str(CHILD), json.dumps(limits), *args,
                    stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin, stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT, pass_fds=fds, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                )  # fmt: skip
            except OSError as error:
                raise Unavailable("Images cannot be inspected at the moment.", detail=str(error)) from error
            try:
                async with asyncio.timeout(timeout_s):
                    output = await answer(child)
                    return await child.wait(), output
            except TimeoutError:
                return -9, b"timed out"
            finally:
                if child.returncode is None:
                    with suppress(ProcessLookupError):
                        child.kill()
                    await child.wait()


async def answer(child: asyncio.subprocess.Process) -> bytes:
    """What the child said until it closed its output: the first OUTPUT bytes of it."""
    assert child.stdout
    output = b""
    while piece := await child.stdout.read(OUTPUT):
        output += piece[: OUTPUT - len(output)]
    return output
