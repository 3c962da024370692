"""Transactions and statements. sqlite.py holds every difference between databases."""

from moln.kernel.db.database import Database, Duplicate, Feed, Reader, Transaction
from moln.kernel.db.listing import Listing
from moln.kernel.db.schema import BLOB, INT, TEXT, column, history_of, in_list, metadata, partial_index, table
from moln.kernel.db.statement import Query, Statement, inserting

__all__ = [
    "BLOB", "INT", "TEXT", "Database", "Duplicate", "Feed", "Listing", "Query", "Reader", "Statement", "Transaction",
    "column", "history_of", "in_list", "inserting", "metadata", "partial_index", "table",
]
