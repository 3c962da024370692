"""A running MariaDB or MySQL, read in one snapshot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from moln.host.run import HostError
from moln.kernel.errors import Invalid

TIMEOUT_S = 60
TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"


def read(url: str, wanted: frozenset[str], note: Callable[[str], None]) -> dict[str, list[dict[str, Any]]]:
    """The wanted tables that are there. Raises: HostError, Invalid."""
    try:
        import pymysql
        from pymysql.constants import FIELD_TYPE
        from pymysql.cursors import DictCursor
    except ModuleNotFoundError:
        raise HostError("a running database takes the package PyMySQL: pip install 'moln[import]'; or give a dump of it") from None
    times = (FIELD_TYPE.DATE, FIELD_TYPE.DATETIME, FIELD_TYPE.TIMESTAMP)
    converting = {kind: call for kind, call in pymysql.converters.conversions.items() if kind not in times}
    try:
        with pymysql.connect(**where(url), charset="utf8mb4", conv=converting, connect_timeout=TIMEOUT_S, cursorclass=DictCursor) as connection:
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
                cursor.execute(TABLES)
                there = sorted(wanted & {str(next(iter(row.values()))) for row in cursor.fetchall()})
                found = {}
                for name in there:
                    note(name)
                    cursor.execute(f"SELECT * FROM `{name}`")
                    found[name] = list(cursor.fetchall())
                return found
    except pymysql.MySQLError as error:
        raise HostError(f"the database cannot be read: {error}") from None


def where(url: str) -> dict[str, Any]:
    """As SQLAlchemy writes it, and keystone.conf with it: mysql+pymysql://USER:PASSWORD@HOST:PORT/DATABASE?unix_socket=… Raises: Invalid."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    database = parts.path.strip("/")
    try:
        port = parts.port
    except ValueError:
        raise Invalid("The database's URL has a port that is no number.", field="source") from None
    if not database:
        raise Invalid("The database's URL ends in the database's name: mysql+pymysql://USER:PASSWORD@HOST/keystone", field="source")
    found: dict[str, Any] = {"host": parts.hostname or "localhost", "port": port or 3306, "database": database,
                             "user": unquote(parts.username or ""), "password": unquote(parts.password or "")}  # fmt: skip
    if "unix_socket" in query:
        found["unix_socket"] = query["unix_socket"]
    if "ssl_ca" in query:
        found["ssl_ca"] = query["ssl_ca"]
    return found
