"""The tables of moln.toml that the node itself reads."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from moln.host.settings import Disks, NodeSettings
from moln.kernel.errors import Invalid
from moln.kernel.tracing import TracingSettings

if TYPE_CHECKING:
    from moln.kernel.rbd import RbdPool

S = TypeVar("S")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def load(path: Path) -> NodeSettings:
    """`[node]`. Raises: Invalid."""
    return _table(path, "node", NodeSettings)


def load_tracing(path: Path) -> TracingSettings:
    """`[tracing]`. Raises: Invalid."""
    return _table(path, "tracing", TracingSettings)


def rbd_pool(disks: Disks) -> RbdPool | None:
    """Where disks and volumes lie in Ceph; None: in files of this host. Raises: Invalid, when this host cannot get there."""
    if not disks.pool:
        return None
    from moln.kernel.rbd import Access, RbdPool

    for name in ("pool", "user"):
        if not NAME.fullmatch(getattr(disks, name)):
            raise Invalid(f"{getattr(disks, name)!r} is no name of a {name} of Ceph.", field=f"node.disks.{name}")
    keyring = disks.keyring or str(Path(disks.conf).with_name(f"ceph.client.{disks.user}.keyring"))
    access = Access(disks.conf, disks.user, keyring, disks.pool, disks.timeout_s)
    access.check()
    return RbdPool(access)


def _table(path: Path, name: str, shape: type[S]) -> S:
    """One table alone: the rest of the file is the controller's."""
    try:
        table = tomllib.loads(path.read_text("utf-8")).get(name, {}) if path.exists() else {}
        return msgspec.convert(table, shape)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise Invalid(f"{path}: {error}") from None
