"""Transactions and statements. sqlite.py and postgres*.py hold every difference between databases."""

from moln.kernel.db.database import Database, Duplicate, Feed, Reader, Transaction
from moln.kernel.db.functions import each_of, greatest
from moln.kernel.db.listing import Listing
from moln.kernel.db.schema import BLOB, INT, TEXT, column, history_of, in_list, metadata, partial_index, table
from moln.kernel.db.statement import Query, QueryBeside, Statement, Step, adding, inserting

__all__ = [
    "BLOB", "INT", "TEXT", "Database", "Duplicate", "Feed", "Listing", "Query", "QueryBeside", "Reader", "Statement", "Step", "Transaction",
    "adding", "column", "each_of", "greatest", "history_of", "in_list", "inserting", "metadata", "partial_index", "table",
]
