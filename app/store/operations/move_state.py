"""State of a move, in the SQLite database that is moved.

Once a move has begun, triggers reject every change of a table, in every process and also after a restart. So nothing
can be written that the move would miss: events are spooled or refused. Only sessions may change, which are not worth
refusing a page.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from app.exceptions import StoreUnavailable
from app.store.backends.availability import HOW_TO_GO_ON, translated
from app.store.backends.sqlite import WAIT_SECONDS, SqliteBackend
from app.store.operations.table_rows import MOVE, quoted
from app.support.file_urls import quoted as quoted_path

PREFIX = "tally_move_"  # of the triggers
CHANGES = ("INSERT", "UPDATE", "DELETE")
OPEN = (MOVE, "session", "ended_session")  # tables that may change
TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"


@dataclass(frozen=True)
class MoveState:
    """Move that has begun."""

    identity: str  # a UUID, which the target has, too
    target: str  # address of the target without a password
    finished_at: int | None  # time of its end in milliseconds, or None


def find(url: str) -> MoveState | None:
    """Return the move that has begun, or None."""
    with _connected(url) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (MOVE,)).fetchall():
            return None
        row = connection.execute(f"SELECT identity, target, finished_at FROM {MOVE}").fetchone()  # noqa: S608
        return MoveState(*row)


def begin(url: str, target: str) -> MoveState:
    """Reject changes from now on, and return the move. Everything committed before is visible to the caller."""
    identity = str(uuid.uuid4())
    with _connected(url) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"CREATE TABLE {MOVE} (identity TEXT NOT NULL, target TEXT NOT NULL, finished_at INTEGER)")
        connection.execute(f"INSERT INTO {MOVE} (identity, target) VALUES (?, ?)", (identity, target))  # noqa: S608
        for (table,) in connection.execute(TABLES).fetchall():
            if table in OPEN:
                continue
            for change in CHANGES:
                name = quoted(f"{PREFIX}{table}_{change.lower()}")
                connection.execute(
                    f"CREATE TRIGGER {name} BEFORE {change} ON {quoted(table)} "
                    f"BEGIN SELECT RAISE(ABORT, '{HOW_TO_GO_ON}'); END"
                )
        connection.execute("COMMIT")
    return MoveState(identity, target, None)


def finish(url: str, moment: int) -> None:
    """Record the end of the move. Changes stay rejected."""
    with _connected(url) as connection:
        connection.execute(f"UPDATE {MOVE} SET finished_at = ?", (moment,))  # noqa: S608


def cancel(url: str) -> None:
    """Permit changes again."""
    with _connected(url) as connection:
        connection.execute("BEGIN IMMEDIATE")
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            if name.startswith(PREFIX):
                connection.execute(f"DROP TRIGGER {quoted(name)}")
        connection.execute(f"DROP TABLE IF EXISTS {MOVE}")
        connection.execute("COMMIT")


@contextmanager
def _connected(url: str) -> Iterator[sqlite3.Connection]:
    path = SqliteBackend.from_url(url).path
    try:
        with translated():
            address = f"file:{quoted_path(path)}?mode=rw"
            connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=4 * WAIT_SECONDS)
            with closing(connection):
                connection.execute("PRAGMA synchronous = full")
                yield connection
    except sqlite3.Error as error:
        raise StoreUnavailable(f"SQLite: {error}.") from error
