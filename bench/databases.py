"""A database server, or a folder for SQLite, on which benchmarks create databases and start web servers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from app.config import Settings
from bench.db_baseline import PostgresTable, SqliteTable
from bench.report import Figure, progress
from bench.servers import Program, Web, migrate, postgres, web, workspace

Table = PostgresTable | SqliteTable


@dataclass(frozen=True)
class Stage:
    """One database's part of a benchmark. Everything it opens ends with it."""

    database: str  # its name for people
    folder: Path
    _url: Callable[[str], str]  # creates an empty database of that name
    _table: Callable[[str], Table]
    _opened: ExitStack

    def create(self, name: str) -> tuple[str, Table]:
        """Create a database with the service's tables; return its URL and its event table."""
        url = self._url(name)
        migrate(url)
        table = self._table(url)
        self._opened.callback(table.close)
        return url, table

    def serve(self, program: Program, name: str, url: str) -> Web:
        """Serve a program over a database with as many processes as the service has."""
        settings = replace(Settings.from_environment(), database_url=url)
        return self._opened.enter_context(web(program, self.folder / name, url, settings.web_process_count))


@contextmanager
def sqlite_stage() -> Iterator[Stage]:
    """Use a folder of SQLite files."""
    with workspace() as folder, ExitStack() as opened:
        yield Stage("SQLite", folder, lambda name: f"sqlite:///{folder / name}.db", SqliteTable, opened)


@contextmanager
def postgres_stage() -> Iterator[Stage]:
    """Use a PostgreSQL server."""
    with workspace() as folder, postgres(folder) as server, ExitStack() as opened:
        yield Stage("PostgreSQL", folder, server.create, PostgresTable, opened)


STAGES = (sqlite_stage, postgres_stage)


def measure_each(measure: Callable[[Stage], Iterable[Figure]]) -> list[Figure]:
    """Return the figures of each database."""
    figures: list[Figure] = []
    for stage in STAGES:
        with stage() as opened:
            figures += measure(opened)
    progress()
    return figures
