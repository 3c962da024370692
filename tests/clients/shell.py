"""Runs `openstack` commands one after the other in one process: the client's own entry point, imported once instead of every time.

Each line of standard input is a list of arguments in JSON; each line of the output a list: exit status, standard output, standard error.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys


def main() -> None:
    from openstackclient import shell

    answers = sys.stdout
    for line in sys.stdin:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = shell.main(json.loads(line))
                if isinstance(status, tuple):  # `federation protocol set` gives its table for a status, whatever the cloud
                    status = 0
            except SystemExit as end:
                status = end.code
        print(json.dumps([status, out.getvalue(), err.getvalue()]), file=answers, flush=True)


if __name__ == "__main__":
    main()
