"""All operations of `/openapi.json` under generated requests: no 500, and no answer that the description does not have.

Two minutes of the same requests each time; MOLN_SCHEMATHESIS_MINUTES=10 goes on for ten, MOLN_SCHEMATHESIS_SEED=random sends others, and
that of an earlier run repeats it.
"""

from __future__ import annotations

import json
import math
import os
import random
import time
from pathlib import Path

import pytest
from tests.contract.cloud import simulated_cloud
from tests.contract.fuzzing import Fuzzer
from tests.contract.world import World

SEED = os.environ.get("MOLN_SCHEMATHESIS_SEED", "1")
MINUTES = float(os.environ.get("MOLN_SCHEMATHESIS_MINUTES", "2"))
FIRST, THEN = 2, 8  # examples of each operation: in the first round, which takes all of them, and in the others, as far as time goes


@pytest.mark.slow
@pytest.mark.timeout(MINUTES * 60 + 300)
def test_no_request_ends_in_500_and_answers_are_as_described(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32) if SEED == "random" else int(SEED)
    print(f"MOLN_SCHEMATHESIS_SEED={seed} MOLN_SCHEMATHESIS_MINUTES={MINUTES:g}")
    until = time.monotonic() + MINUTES * 60
    fuzzer: Fuzzer | None = None
    errors: list[str] = []
    number = 0
    while number == 0 or time.monotonic() < until:  # a round on a new cloud each: what one deletes, the next has again
        home = tmp_path / str(number)
        home.mkdir()
        with simulated_cloud(home) as cloud:
            if fuzzer is None:
                fuzzer = Fuzzer(json.loads(cloud.request("GET", "/openapi.json").content), seed)
            sent = list(fuzzer.round(World(cloud), number, until if number else math.inf, THEN if number else FIRST))
            errors += [error for error in cloud.errors.found if error not in errors]
        print(f"round {number}: {len(sent)} operations, {sum(fuzzer.counts.values())} requests so far")
        number += 1
    print("answers by status:", dict(sorted(fuzzer.counts.items())))
    assert not fuzzer.findings, "\n".join(map(str, fuzzer.findings.values()))
    assert not errors, "\n".join(errors)
