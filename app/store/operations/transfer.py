"""Reading all rows of a database in one snapshot, and writing them into a database that they then replace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from playhouse.migrations import Migration

from app.store.backends.sqlite import SqliteBackend
from app.store.database import MIGRATIONS
from app.store.operations.postgres_rows import PostgresSource, PostgresTarget
from app.store.operations.sqlite_rows import SqliteSource, SqliteTarget, copied
from app.store.operations.table_rows import Lines, Table

# Tables that an installation without data of its own may have rows in.
SEEDED = {"alert_evaluation", "alert_rule", "counted", "rejected_drop", "setting_seen"}


class Source(Protocol):
    """Rows of a database, all as of one moment."""

    server: str  # name and version of the database

    def tables(self) -> list[Table]:
        """Return the tables with their columns."""

    def migrations(self) -> list[str]:
        """Return the names of the applied migrations in order."""

    def count(self, table: str) -> int:
        """Return the number of rows of a table."""

    def sequences(self) -> dict[str, int]:
        """Return the highest id that each table ever assigned."""

    def lines(self, table: Table, after: int | None = None, until: int | None = None) -> Iterator[Lines]:
        """Yield the rows of a table as text (see `table_rows`), in blocks.

        Args:
            after, until: only rows with an id above `after`, and only up to `until`.
        """

    def fetch(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""


class Target(Protocol):
    """New tables beside those of a database, which they replace all at once when they are complete."""

    def prepare(self, migrations: Sequence[str]) -> None:
        """Create the tables as a list of migrations leaves them. What an interrupted call left is removed."""

    def write(self, table: Table, blocks: Iterable[Lines]) -> None:
        """Replace the rows of a table."""

    def finish(self, sequences: Mapping[str, int]) -> None:
        """Complete the tables. `sequences` are the highest ids ever assigned, which must not be assigned again."""

    def discard(self) -> None:
        """Remove the written tables."""

    def close(self) -> None:
        """Release the database."""

    def reading(self) -> AbstractContextManager[Source]:
        """Return the written rows as a source."""

    def replace(self) -> None:
        """Replace the database's tables, all or none."""


@contextmanager
def snapshot(url: str) -> Iterator[Source]:
    """Return the rows of a database that is in use, for a backup. Other backups are excluded meanwhile.

    Raises:
        BackupFailed: another backup is running, or there is no space for a copy of SQLite's file.
        StoreUnavailable: the database cannot be read.
    """
    if url.startswith("sqlite"):
        with copied(_existing_file(url)) as source:
            yield source
    else:
        with closing(PostgresSource(url, locks=True)) as source:
            yield source


@contextmanager
def reading(url: str) -> Iterator[Source]:
    """Return the rows of a database that is in use, without a copy."""
    source = SqliteSource(_existing_file(url)) if url.startswith("sqlite") else PostgresSource(url)
    with closing(source):
        yield source


def _existing_file(url: str) -> Path:
    backend = SqliteBackend.from_url(url)
    backend.check_exists()
    return backend.path


def target(url: str) -> Target:
    """Return the database to write into."""
    return SqliteTarget(SqliteBackend.from_url(url).path) if url.startswith("sqlite") else PostgresTarget(url)


def occupied(url: str) -> str | None:
    """Return the name of a table with data of this installation, or None if there is no data."""
    if url.startswith("sqlite"):
        path = SqliteBackend.from_url(url).path
        if not path.exists() or not path.stat().st_size:
            return None
    with reading(url) as source:
        tables = [table.name for table in source.tables() if table.name not in SEEDED]
        return next((name for name in tables if source.fetch(f'SELECT 1 FROM "{name}" LIMIT 1')), None)  # noqa: S608


def known_migrations() -> set[str]:
    """Return the names of the migrations that this version has."""
    return {migration.name for migration in Migration.load_directory(str(MIGRATIONS))}
