"""Subunit on standard input, JSON on standard output; run by the suite's Python, which has the library."""

import json
import sys

import subunit
import testtools

tests = []


def keep(test: dict) -> None:
    begun, ended = test["timestamps"]
    details = {name: content.as_text() for name, content in test["details"].items() if name == "reason" or "traceback" in name}
    if test["id"] != "stdout":
        tests.append({
            "name": test["id"].split("[")[0], "smoke": "smoke" in test["id"].partition("[")[2].rstrip("]").split(","),
            "status": {"success": "success", "skip": "skip"}.get(test["status"], "fail"),
            "reason": details.get("reason") or "\n".join(details.values()),
            "seconds": (ended - begun).total_seconds() if begun and ended else 0.0,
        })  # fmt: skip


result = testtools.StreamToDict(keep)
result.startTestRun()
subunit.ByteStreamToStreamResult(sys.stdin.buffer, non_subunit_name="stdout").run(result)
result.stopTestRun()
json.dump(tests, sys.stdout)
