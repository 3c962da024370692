"""Looks for files that the inspection of images judges wrongly: `python -m tests.image.fuzz --minutes 10`.

From the corpus beside this file it makes others, the same ones for the same seed: bytes and numbers changed, heads of one format laid into
another, pieces moved, ends cut off. Each is judged as an upload is, in a process with the sandbox's limits, and then asked about at QEMU:

- what counts as a raw disk must not be what qemu-img, left to itself, takes for a format that may lead into other files;
- what counts as another format must name no file but itself, also by its whole chain;
- inspecting ends by itself, within its limits of time and memory; so does unpacking, and within its bound of bytes.

A file that breaks a rule is kept, and the status is 1.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from moln.image.drivers import sandbox_child, sandbox_unpack
from moln.image.model.formats import DISK_FORMATS, QEMU_NAME, mismatch

CORPUS = Path(__file__).with_name("corpus")
PACKED = ("gzip", "bzip2", "xz", "zip")
LEADING = {"qcow", "qcow2", "qed", "vmdk", "vhdx", "vpc", "vdi"}  # QEMU's formats that may name other files, or that we convert
LIMITS = {"cpu_s": 10, "memory": 1 << 30, "most": 8 << 20}
NUMBERS = (0, 1, 2, 3, 8, 0x7F, 0xFF, 512, 0x7FFF, 0xFFFF, 1 << 16, 1 << 20, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
WORDS = (
    b'createType="monolithicFlat"', b'RW 20480 FLAT "/etc/passwd" 0', b"# Disk DescriptorFile", b"/etc/passwd", b"json:{", b"file:/etc/passwd",
    b"QFI\xfb", b"KDMV", b"QED\0", b"conectix", b"vhdxfile", b"CD001", b"EFI PART", b"LUKS\xba\xbe", b"\x7f\x10\xda\xbe", b"\x55\xaa", b"COWD",
)  # fmt: skip


def corpus() -> dict[str, bytes]:
    return {path.stem: lzma.decompress(path.read_bytes()) for path in sorted(CORPUS.glob("*.xz"))}


def spots(data: bytes | bytearray) -> list[int]:
    """Where something is written: changing what is not read shows nothing."""
    found = [at for at in range(0, min(len(data), 1 << 20), 512) if any(data[at : at + 512])]
    return found or [0]


class Mutator:
    """Files of a seed, one after another. The nth is the same in each run."""

    def __init__(self, seed: int, known: dict[str, bytes]):
        self.seed = seed
        self.known = known
        self.names = sorted(known)
        self.spots = {name: spots(data) for name, data in known.items()}

    def make(self, number: int) -> tuple[str, bytes]:
        """The name of what it began as, and the file."""
        dice = random.Random(f"{self.seed}/{number}")
        name = dice.choice(self.names)
        data = bytearray(self.known[name])
        for _ in range(dice.choice((1, 1, 2, 3, 5, 9))):
            dice.choice((self.byte, self.number, self.number, self.word, self.lay, self.move, self.cut, self.grow))(dice, name, data)
        return name, bytes(data)

    def place(self, dice: random.Random, name: str, data: bytearray) -> int:
        return min(max(0, len(data) - 1), dice.choice(self.spots[name]) + dice.randrange(512))

    def byte(self, dice: random.Random, name: str, data: bytearray) -> None:
        if data:
            at = self.place(dice, name, data)
            data[at] = data[at] ^ 1 << dice.randrange(8) if dice.random() < 0.5 else dice.randrange(256)

    def number(self, dice: random.Random, name: str, data: bytearray) -> None:
        size = dice.choice((2, 4, 8))
        at = self.place(dice, name, data) // size * size
        value = dice.choice(NUMBERS) if dice.random() < 0.8 else dice.getrandbits(8 * size)
        data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, dice.choice(("big", "little")))

    def word(self, dice: random.Random, name: str, data: bytearray) -> None:
        word = dice.choice(WORDS)
        at = dice.choice((0, 0x200, 0x8001, 0x10000, max(0, len(data) - 512), self.place(dice, name, data)))
        data[at : at + len(word)] = word

    def lay(self, dice: random.Random, name: str, data: bytearray) -> None:
        """A head of another file over some place of this one."""
        other = self.known[dice.choice(self.names)]
        size = dice.choice((16, 64, 512, 4096, 70000))
        at = dice.choice((0, 0, 512, 1024, 0x8000, 0x10000, 0x30000, max(0, len(data) - size)))
        if at > len(data):
            data.extend(bytes(at - len(data)))
        data[at : at + size] = other[:size]

    def move(self, dice: random.Random, name: str, data: bytearray) -> None:
        size, here, there = dice.choice((8, 64, 512)), self.place(dice, name, data), self.place(dice, name, data)
        data[there : there + size] = data[here : here + size]

    def cut(self, dice: random.Random, name: str, data: bytearray) -> None:
        if dice.random() < 0.3:
            del data[self.place(dice, name, data) :]

    def grow(self, dice: random.Random, name: str, data: bytearray) -> None:
        if dice.random() < 0.3:
            data.extend(dice.choice((bytes(512), bytes(70000), b"\xff" * 512, bytes(data[:512]))))


def alone(work: Callable[[], object]) -> tuple[int, Any]:
    """The wait status of a process of its own that does the work within the limits, and its answer."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.close(read)
            for kind, bound in ((resource.RLIMIT_CPU, LIMITS["cpu_s"]), (resource.RLIMIT_AS, LIMITS["memory"]), (resource.RLIMIT_CORE, 0)):
                resource.setrlimit(kind, (bound, bound))
            try:
                answer = work()
            except Exception as error:  # what a child says with its status: the file is refused
                answer = {"error": type(error).__name__}
            os.write(write, json.dumps(answer).encode()[:60000])
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    return status, json.loads(said) if said else None


def qemu_img(*args: str) -> Any:
    """What `qemu-img info` says; None, when it opens nothing."""
    done = subprocess.run(
        ["qemu-img", "info", "--output=json", *args], capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30)), cwd="/",
    )  # fmt: skip
    if done.returncode < 0:
        return {"signal": -done.returncode}
    return json.loads(done.stdout) if not done.returncode else None


def named_files(info: Any) -> Iterator[str]:
    """Every file that QEMU's answer names."""
    if isinstance(info, dict):
        for key, value in info.items():
            if isinstance(value, str) and ("filename" in key or key == "data-file"):
                yield value
            else:
                yield from named_files(value)
    elif isinstance(info, list):
        for value in info:
            yield from named_files(value)


def problem(path: Path, counts: Counter[str]) -> str | None:
    """What rule the file breaks."""
    fd = os.open(path, os.O_RDONLY)
    try:
        status, answer = alone(lambda: os.dup2(fd, 0) or sandbox_child.sniff())
    finally:
        os.close(fd)
    if status:
        return f"inspecting it ended with the status {status}"
    if "error" in answer:
        counts[f"refused: {answer['error']}"] += 1
        return None
    found = set(answer["formats"])
    accepted = [name for name in DISK_FORMATS if not mismatch(name, found) and not answer["unsafe"]]
    counts["accepted" if accepted else "refused"] += 1
    if set(accepted) - set(QEMU_NAME):
        probed = qemu_img(str(path))
        if probed and probed.get("format") in LEADING:
            return f"it counts as {accepted}, and for QEMU it is {probed['format']}"
    for name in set(accepted) & set(QEMU_NAME):
        info = qemu_img("-f", QEMU_NAME[name], "--backing-chain", str(path))
        if info and isinstance(info, dict) and "signal" in info:
            counts[f"qemu-img died of {signal.Signals(info['signal']).name}"] += 1
            continue
        first = info[0] if info else {}
        if "backing-filename" in first or "data-file" in first.get("format-specific", {}).get("data", {}) or first.get("encrypted"):
            counts["refused by the second look"] += 1
            continue
        if others := {file for file in named_files(info) if file != str(path)}:
            return f"it counts as {name}, and names {sorted(others)}"
    return None


def packed_problem(path: Path, kind: str, counts: Counter[str]) -> str | None:
    """The same for what would be unpacked."""
    target = path.with_suffix(".out")
    source, out = os.open(path, os.O_RDONLY), os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC)

    def work() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMITS["most"], LIMITS["most"]))
        os.dup2(source, 0)
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (the process ends with it)
        return sandbox_child.unpack(sandbox_unpack.unpack, kind, out)

    try:
        status, answer = alone(work)
        size = os.fstat(out).st_size
    finally:
        os.close(source)
        os.close(out)
    counts[f"unpacked with status {answer}"] += 1
    if status or answer not in (0, 1, 27):
        return f"unpacking it as {kind} ended with {status}, {answer}"
    return f"unpacking it as {kind} wrote {size} bytes" if size > LIMITS["most"] else None


def run(seed: int, cases: int | None, minutes: float | None, keep: Path) -> int:
    mutator, counts, broken = Mutator(seed, corpus()), Counter[str](), 0
    end, number = time.monotonic() + 60 * minutes if minutes else None, 0
    import oslo_utils.imageutils.format_inspector  # noqa: F401 (once, not in each process)

    with tempfile.TemporaryDirectory(prefix="moln-fuzz-") as folder:
        path = Path(folder) / "case"
        while (cases is None or number < cases) and (end is None or time.monotonic() < end):
            name, data = mutator.make(number)
            path.write_bytes(data)
            why = packed_problem(path, name, counts) if name in PACKED else problem(path, counts)
            if why:
                broken += 1
                keep.mkdir(parents=True, exist_ok=True)
                kept = keep / f"{name}-{seed}-{number}"
                kept.write_bytes(data)
                print(f"{kept}: {why}", flush=True)
            number += 1
    print(f"{number} files of seed {seed}, {broken} broke a rule: {', '.join(f'{n} {what}' for what, n in counts.most_common())}")
    return int(broken > 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, help="stop after so long")
    parser.add_argument("--cases", type=int, help="stop after so many files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="the folder for files that break a rule")
    args = parser.parse_args()
    return run(args.seed, args.cases if args.cases or args.minutes else 1000, args.minutes, args.keep)


if __name__ == "__main__":
    sys.exit(main())
