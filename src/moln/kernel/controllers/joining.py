"""The side of the machine that joins: it proves that it speaks to the cloud of its token, and keeps what it is given."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from moln.kernel.controllers import heritage
from moln.kernel.controllers.heritage import Asked, Heritage
from moln.kernel.errors import Conflict, Invalid
from moln.kernel.nodes.joining import call, fetch_authority, kept_key, refusal, request
from moln.kernel.nodes.requests import checked_name, parts

KEY = "controllers/joining.pem"


def join(url: str, token: str, home: Path, *, name: str, own_url: str, again: bool = False) -> Heritage:
    """Become controller `name` of the cloud whose APIs are at `url`; ours will be at `own_url`. again: it is one, and takes what has changed.

    What it was given is kept. Raises: Invalid, Conflict, Forbidden, Unavailable; nothing is kept then but a key that proves nothing.
    """
    where = urlsplit(url)
    checked_name(name)
    if where.scheme != "https" or not where.hostname:
        raise Invalid("A controller joins at the https:// URL of another one's APIs.")
    if not again and ((home / "moln.toml").exists() or ((home / "keys").exists() and not (home / KEY).exists())):  # with KEY, it was begun and not ended
        raise Conflict(f"{home} has a cloud or its settings already; choose another --home, or: moln down --purge")
    _, fingerprint = parts(token)
    port = where.port or 443
    ca, _ = fetch_authority(where.hostname, port, fingerprint)
    (home / KEY).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    csr = request(kept_key(home / KEY), name)
    context = ssl.create_default_context()
    context.load_verify_locations(cadata=ca)
    asked = msgspec.json.encode(Asked(token.strip(), name, own_url, csr, again))
    status, body, _ = call(context, where.hostname, port, "POST", "/controllers/enrolment", asked)
    if status != 201:
        raise refusal(status, body)
    given = msgspec.json.decode(body, type=Heritage)
    (heritage.keep_again if again else heritage.keep)(home, given)
    (home / KEY).unlink()
    return given
