"""Queries about the progress of event file imports."""

from __future__ import annotations

from app.store.models import EventImport
from app.store.queries import execute


def begin(identity: str, name: str, now: int) -> EventImport:
    """Return the import of a file, and create it if it does not exist."""
    EventImport.insert(
        identity=identity, name=name, offset=0, line=1, events=0, rejected=0, started_at=now
    ).on_conflict_ignore().execute()
    return EventImport.get_by_id(identity)


def advance(identity: str, since: int, offset: int, line: int, events: int, rejected: int) -> bool:
    """Record the progress of an import inside the transaction that stores its events.

    Args:
        since: the expected current offset. If another process has advanced the import, return False and change nothing.
        offset, line: the new position.
        events, rejected: the numbers of additional events and rejected lines.
    """
    changed = EventImport.update(
        offset=offset, line=line, events=EventImport.events + events, rejected=EventImport.rejected + rejected
    ).where(EventImport.identity == identity, EventImport.offset == since, EventImport.finished_at.is_null())
    return execute(changed) == 1


def finish(identity: str, now: int) -> None:
    EventImport.update(finished_at=now).where(
        EventImport.identity == identity, EventImport.finished_at.is_null()
    ).execute()


def forget(identity: str) -> None:
    """Remove a finished import, so that the file can be imported again."""
    EventImport.delete().where(EventImport.identity == identity, EventImport.finished_at.is_null(False)).execute()
