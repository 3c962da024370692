"""What PostgreSQL's refusals and losses are called here."""

from __future__ import annotations

import re

import asyncpg

from moln.kernel.db.database import Duplicate
from moln.kernel.errors import Conflict, Failure, Invalid, Unavailable

AGAIN = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)  # 40001, 40P01: nothing happened, the same may work now
LOST = (  # the connection, the server or its means failed, not the statement
    asyncpg.PostgresConnectionError, asyncpg.InsufficientResourcesError, asyncpg.OperatorInterventionError, asyncpg.PostgresSystemError,
    asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError, asyncpg.ReadOnlySQLTransactionError,
    asyncpg.LockNotAvailableError, asyncpg.IdleInTransactionSessionTimeoutError, asyncpg.InternalClientError, OSError, TimeoutError,
)  # fmt: skip


def is_lost(error: BaseException) -> bool:
    """Whether the database itself failed, rather than one statement."""
    if isinstance(error, asyncpg.InterfaceError):  # what asyncpg says of a connection that is closed by now
        return any(word in str(error) for word in ("closed", "closing", "released"))
    return isinstance(error, LOST)


def unavailable(error: BaseException) -> Unavailable:
    return Unavailable("The database cannot be used now. Try again soon.", detail=repr(error))


def failure(error: BaseException) -> Failure | None:
    """What a caller is told of an error of the driver's; None, when it is nothing that a caller did."""
    match error:
        case asyncpg.UniqueViolationError():
            named = re.match(r"Key \((.*?)\)=", error.detail or "")
            columns = re.findall(r"\w+", named[1]) if named else []
            return Duplicate("It exists already.", tuple(f"{error.table_name}.{c}" for c in columns))
        case asyncpg.ForeignKeyViolationError():
            return Conflict("It is in use, or what it refers to is gone.", detail=str(error))
        case asyncpg.CharacterNotInRepertoireError() | asyncpg.UntranslatableCharacterError():
            return Invalid("A text is not valid Unicode.")
        case asyncpg.NumericValueOutOfRangeError():
            return Invalid("A number is beyond 64 bits.")
        case asyncpg.DataError() if isinstance(error.__cause__, OverflowError):
            return Invalid("A number is beyond 64 bits.")
        case asyncpg.DataError() if isinstance(error.__cause__, UnicodeEncodeError):
            return Invalid("A text is not valid Unicode.")
        case UnicodeEncodeError():
            return Invalid("A text is not valid Unicode.")
    return unavailable(error) if is_lost(error) else None
