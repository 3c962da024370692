"""The one setting that commands write into moln.toml: where the database is."""

from __future__ import annotations

import json
import os
import re
import shutil
from urllib.parse import urlsplit

from moln.host.places import USER, Places


def write_database_url(places: Places, url: str) -> None:
    """Whatever else stands in the file stays. A file with a password in it is for the cloud alone. "": SQLite."""
    path = places.settings
    text = path.read_text("utf-8") if path.exists() else ""
    new = path.with_name("moln.toml.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(with_url(text, url))
        file.flush()
        os.fsync(file.fileno())
    if urlsplit(url).password is None and "password" not in url:
        new.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
    elif os.geteuid() == 0 and places.run.exists() and places.run.stat().st_uid:
        shutil.chown(new, group=USER)
        new.chmod(0o640)
    new.replace(path)


def with_url(text: str, url: str) -> str:
    """The text of a moln.toml that names this database."""
    table = re.search(r"(?m)^[ \t]*\[", text)
    top, rest = (text[: table.start()], text[table.start() :]) if table else (text, "")
    kept = re.sub(r"(?m)^[ \t]*database_url[ \t]*=.*\n?", "", top)
    line = f"database_url = {json.dumps(url, ensure_ascii=False)}\n" if url else ""
    return kept + ("\n" if kept and not kept.endswith("\n") else "") + line + ("\n" if rest and line else "") + rest
