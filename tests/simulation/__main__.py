"""`python -m tests.simulation [SEED [LAST]] [--trace]`: one seed, or all from SEED to LAST; what failed is told with how to replay it."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from tests.simulation import seeds
from tests.simulation.nodes import MakeFences, NoFences, disk_fences

HASH_SEED = "0"
PART = 50  # seeds that a process does before it is told of


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int, nargs="?", default=1)
    parser.add_argument("last", type=int, nargs="?")
    parser.add_argument("--trace", action="store_true", help="print everything that happened, of one seed")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each seed")
    parser.add_argument("--no-fences", action="store_true", help="nodes without their check of generations: some seed must fail")
    parser.add_argument("--until-failure", action="store_true", help="end at the first seed that fails")
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:  # the order of sets of texts is part of a run
        os.environ["PYTHONHASHSEED"] = HASH_SEED
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    if args.trace:
        return traced(args.seed)
    wanted = range(args.seed, (args.last or args.seed) + 1)
    began, failed, virtual, count = time.monotonic(), 0, 0.0, 0
    asked: dict[str, int] = {}
    fences: MakeFences = NoFences if args.no_fences else disk_fences
    for outcome in outcomes(wanted, args.processes, fences):
        count += 1
        failed += bool(outcome.failures)
        virtual += outcome.virtual_s
        for name, n in outcome.asked.items():
            asked[name] = asked.get(name, 0) + n
        if args.json:
            print(msgspec.json.encode(outcome).decode(), flush=True)
        elif outcome.failures:
            print(seeds.describe(outcome), flush=True)
        elif len(wanted) == 1:
            print(f"seed {outcome.seed} passed, trace {outcome.digest}, {outcome.virtual_s:.0f} virtual seconds, requests {outcome.asked}")
        if args.until_failure and failed:
            break
    if len(wanted) > 1 and not args.json:
        took = time.monotonic() - began
        print(f"{count} seeds, {failed} failed; {took:.0f} s ({count / took:.1f} seeds/s), {virtual / 3600:.0f} virtual hours, requests {asked}")
    return int(failed > 0)


def outcomes(wanted: range, processes: int, fences: MakeFences) -> Iterator[seeds.Outcome]:
    """By this process, or by several that do a part of them each."""
    if processes == 1:
        yield from seeds.run(wanted, fences)
        return
    parts = [wanted[at : at + PART] for at in range(0, len(wanted), PART)]
    with ThreadPoolExecutor(processes) as pool:
        for found in pool.map(_part, parts, [fences] * len(parts)):
            yield from found


def _part(part: range, fences: MakeFences) -> list[seeds.Outcome]:
    more = ["--no-fences"] if fences is NoFences else []
    command = [sys.executable, "-m", "tests.simulation", str(part[0]), str(part[-1]), "--json", *more]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    return [msgspec.json.decode(line, type=seeds.Outcome) for line in done.stdout.splitlines()]


def traced(seed: int) -> int:
    place = seeds.folder()
    template = seeds.prepare(place)
    outcome = seeds.simulate(seed, seeds.fresh_home(template, Path(place) / "home"), keep=True)
    print("\n".join(outcome.trace or []))
    print(seeds.describe(outcome) if outcome.failures else f"seed {seed} passed, trace {outcome.digest}")
    seeds.shutil.rmtree(place, ignore_errors=True)
    return int(bool(outcome.failures))


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # the dead of the warm-up are not to be closed
