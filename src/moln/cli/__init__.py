"""The `moln` command. Each module of moln.cli.commands is one sub-command of its name (without the `_` behind one that is Python's word): HELP, arguments(parser), run(args)."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

from moln.cli import commands
from moln.host.places import default_home


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 done; 1 not, with the reason on stderr; 2 wrong usage; 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    names = {m.name.rstrip("_"): m.name for m in pkgutil.iter_modules(commands.__path__)}
    # Only the command asked for is imported; all of them for the list.
    asked = [a for a in argv[:1] if a in names] or sorted(names)
    parser = argparse.ArgumentParser(prog="moln", description="A whole IaaS cloud in one package.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in asked:
        command = importlib.import_module(f"moln.cli.commands.{names[name]}")
        sub = subparsers.add_parser(name, help=command.HELP, description=command.HELP)
        sub.add_argument("--home", type=Path, default=default_home(),
                         help="where everything of this cloud lies (default: MOLN_HOME, or %(default)s)")
        command.arguments(sub)
        sub.set_defaults(run=command.run)
    args = parser.parse_args(argv)
    args.home = args.home.absolute()
    try:
        return int(args.run(args) or 0)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 1
    except Exception as error:
        if not isinstance(error, expected()):
            raise
        print(f"moln: {error}", file=sys.stderr)
        return 1


def expected() -> tuple[type[Exception], ...]:
    """Failures whose message is all that their reader needs."""
    from moln.host.control import NotRunning
    from moln.host.run import HostError
    from moln.kernel.errors import Failure

    return HostError, NotRunning, Failure, TimeoutError, PermissionError
