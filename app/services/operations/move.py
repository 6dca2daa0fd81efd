"""Move from SQLite to PostgreSQL while the service runs: no event is lost, and an interrupted move resumes.

The move first makes the SQLite database reject changes (see `move_state`). From then on the service spools events
(SPOOL=on) or refuses them, and shows its pages. The rows are copied in transactions, in the order of their ids, into a
schema that no Tally reads. They are compared, and then become visible in one transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from app.config import Settings
from app.exceptions import BackupFailed
from app.services.operations.backup import Progress, reported
from app.services.operations.event_digest import EVENT, EventDigest, differences
from app.services.operations.system import starred
from app.services.operations.verify import digest_of
from app.store import database
from app.store.operations import move_state, transfer
from app.store.operations.move_state import MoveState
from app.store.operations.postgres_rows import PostgresTarget
from app.store.operations.table_rows import Lines
from app.store.operations.transfer import Source
from app.support.clock import now

CHUNK_ROWS = 250_000  # of events per transaction


@dataclass(frozen=True)
class Moved:
    """Result of a move."""

    target: str  # address of the new database without its password
    events: int  # number of events, all of them compared
    hash: str  # hash of the events in both databases
    resumed: int = 0  # number of events that an interrupted move had copied before


class Move:
    """Move of this installation's database."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._url = settings.database

    def state(self) -> MoveState | None:
        """Return the move that has begun, or None."""
        self._require_sqlite()
        return move_state.find(self._url)

    def cancel(self) -> None:
        """Permit changes of the SQLite database again."""
        self._require_sqlite()
        if move_state.find(self._url) is None:
            raise BackupFailed("No move has begun.")
        move_state.cancel(self._url)

    def run(self, url: str, progress: Progress = lambda done, total: None) -> Moved:
        """Move the database, or resume an interrupted move.

        Args:
            url: the new database, which must have no data.

        Raises:
            BackupFailed: this database or the new one is not suitable; or the copy differs, and nothing is visible in
                the new database.
            StoreUnavailable: a database cannot be reached. Run the move again to resume it.
        """
        self._require_sqlite()
        database.refuse_newer()
        if pending := database.pending():
            raise BackupFailed(f"The database needs migrating first ({pending[0]}). Run: tally db upgrade.")
        if not url.startswith(("postgresql://", "postgres://")):
            raise BackupFailed("--to: name a PostgreSQL database: postgresql://user:password@host:5432/name.")
        database.disconnect()
        state = move_state.find(self._url)
        with closing(PostgresTarget(url)) as target:
            if state and target.origin() == state.identity:  # only the last step was interrupted
                with transfer.reading(url) as copy:
                    digest = digest_of(copy)
                if state.finished_at is None:
                    move_state.finish(self._url, now())
                return Moved(starred(url), digest.events, digest.hash, digest.events)
            if table := transfer.occupied(url):
                raise BackupFailed(f"--to: the database has data already (table {table}). Name an empty one.")
            if state is None or target.resume() != state.identity:  # otherwise the same move has created the tables
                with transfer.reading(self._url) as source:
                    target.prepare(source.migrations())
                state = state or move_state.begin(self._url, starred(url))
                target.mark(state.identity)
            with transfer.reading(self._url) as source:
                digest, resumed = self._copy(source, target, progress)
                with ThreadPoolExecutor(1) as beside:  # creating indexes changes no row
                    finishing = beside.submit(target.finish, source.sequences())
                    problems = self._differences(source, target, digest)
                    finishing.result()
            if problems:
                target.discard()
                raise BackupFailed("\n  ".join(["The copy differs, so the move was undone. Run it again.", *problems]))
            target.replace()
        move_state.finish(self._url, now())
        return Moved(starred(url), digest.events, digest.hash, resumed)

    def _copy(self, source: Source, target: PostgresTarget, progress: Progress) -> tuple[EventDigest, int]:
        """Copy what is not copied yet, and return the digest of all events and the number of those copied before."""
        tables = {table.name: table for table in source.tables()}
        for name, table in tables.items():
            if name != EVENT:
                target.write(table, source.lines(table))
        events, total = tables[EVENT], source.count(EVENT)
        digest, last = EventDigest(events), target.last_id(EVENT)
        for data, _ in source.lines(events, until=last):
            digest.add(data)
        resumed = digest.events
        blocks = reported(digest.through(source.lines(events, after=last)), total, progress, resumed)
        for first in blocks:
            target.add(events, _chunk(first, blocks))
        return digest, resumed

    def _differences(self, source: Source, target: PostgresTarget, digest: EventDigest) -> list[str]:
        """Compare the events of both databases by their hashes, and the other tables by their numbers of rows."""
        with target.reading() as copy:
            problems = differences(digest.days(), digest_of(copy).days())
            for table in source.tables():
                if table.name == EVENT:
                    continue
                before, after = source.count(table.name), copy.count(table.name)
                if before != after:
                    problems.append(f"{table.name}: {before:,} rows expected, {after:,} found.")
        return problems

    def _require_sqlite(self) -> None:
        if not self._url.startswith("sqlite"):
            raise BackupFailed("DATABASE_URL: only a SQLite database can be moved.")


def _chunk(first: Lines, blocks: Iterator[Lines]) -> Iterator[Lines]:
    """Yield a block and those after it, up to CHUNK_ROWS rows together."""
    yield first
    rows = first[1]
    while rows < CHUNK_ROWS and (block := next(blocks, None)):
        yield block
        rows += block[1]
