"""Exports for OpenStack's clients: eval "$(moln env)"."""

from __future__ import annotations

import argparse

from moln.host.places import Places
from moln.host.run import HostError

HELP = 'print OS_* exports: eval "$(moln env)"'


def arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    file = Places(args.home).home / "openrc"
    if not file.exists():
        raise HostError(f"{file} is not there yet; run: moln up")
    print(file.read_text(), end="")
    return 0
