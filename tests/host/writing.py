"""A guest that writes numbers onto a disk, each flushed before the next, and keeps in its memory which were answered, and when."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.waiting import until
from tests.host.moving import Guest

BLOCK = 512
ANSWERED, ENOUGH = "/dev/answered", "/dev/enough"  # in the guest's memory: its own disk may be as far away
LOOP = f"""cat > /dev/writer <<'END'
i=$1
while [ ! -e {ENOUGH} ]; do
  i=$((i+1))
  for at in $i 0; do printf %-{BLOCK}s $i | dd of=/dev/vdb bs={BLOCK} seek=$at conv=notrunc,fsync 2>/dev/null || echo failed $i >> {ANSWERED}; done
  echo $i $(cut -d' ' -f1 /proc/uptime) >> {ANSWERED}
done
echo end >> {ANSWERED}
END
rm -f {ENOUGH} {ANSWERED}; touch {ANSWERED}
(setsid sh /dev/writer FIRST </dev/null >/dev/null 2>&1 &)"""


class Writer:
    """Block N of the disk holds the number N, block 0 the last that was written. file: where all of it ends. after: the numbers follow this one."""

    def __init__(self, guest: Guest, file: Path, after: int = 0) -> None:
        self.guest, self.file, self.after = guest, file, after

    def start(self) -> None:
        self.guest.run(LOOP.replace("FIRST", str(self.after)))
        self.go_on(3)

    def go_on(self, count: int = 2) -> None:
        """Until so many more were answered."""
        first = self.last()
        until(lambda: self.last() >= first + count, "the guest writes", 120)

    def last(self) -> int:
        """The number that was answered last."""
        return int(self.guest.run(f"tail -n 1 {ANSWERED}").split(" ")[0] or self.after)

    def stop(self) -> tuple[int, float]:
        """(the last number, the longest time that the guest waited for one: s). Every one was answered, and none with an error."""
        self.guest.run(f"touch {ENOUGH}")
        until(lambda: self.guest.run(f"tail -n 1 {ANSWERED}") == "end", "the guest's last write", 120)
        lines = [line.split(" ") for line in self.guest.run(f"cat {ANSWERED}").splitlines()[:-1]]
        last = self.after + len(lines)
        assert [line[0] for line in lines] == self.numbers(last), lines
        times = [float(line[1]) for line in lines]
        return last, max(b - a for a, b in zip(times, times[1:], strict=False))

    def numbers(self, last: int) -> list[str]:
        """What blocks have to hold, up to this one."""
        return [str(number) for number in range(self.after + 1, last + 1)]

    def written(self) -> tuple[str, list[str]]:
        """What block 0 holds, and the others from the first number's to the last that holds anything."""
        blocks = []
        with self.file.open("rb") as file:
            first = file.read(BLOCK).decode().strip(" ")
            file.seek((self.after + 1) * BLOCK)
            while found := file.read(BLOCK).decode().strip(" \0"):
                blocks.append(found)
        return first, blocks
