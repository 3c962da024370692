"""What controllers prove to each other and to engines that are theirs alone (etcd, OVN's northbound database).

By an authority of its own, `home/controllers`: nodes' certificates are of another one. etcd could tell them apart by a name in the
certificate, but then it refuses its own gateway, through which we speak (3.4, 3.5).
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from moln.kernel.errors import Failure
from moln.kernel.http.certificates import Authority, put

FOLDER, BOTH = "controllers", "both.crt"  # BOTH: the certificates of this authority and of members'


def ensure(home: Path, name: str, now: datetime) -> tuple[Path, Path]:
    """The file with this controller's key and certificate, and that of the authority's certificate. Raises: Failure."""
    authority, members = Authority(home / FOLDER, now), Authority(home / "tls", now)
    both, text = home / FOLDER / BOTH, members.public.read_bytes() + authority.public.read_bytes()
    try:
        if not both.exists() or both.read_bytes() != text:
            put(both, text)
    except OSError as error:
        raise Failure(f"{both} cannot be written ({error.strerror}).") from None
    return authority.ensure_member(home / FOLDER / "controller.pem", "controller", name, now), authority.public
