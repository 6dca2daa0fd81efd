"""Queries about how far files of events are imported."""

from __future__ import annotations

from app.store.models import EventImport


def begin(identity: str, name: str, now: int) -> EventImport:
    """The import of a file, begun now if it was not before."""
    EventImport.insert(
        identity=identity, name=name, offset=0, line=1, events=0, rejected=0, started=now
    ).on_conflict_ignore().execute()
    return EventImport.get_by_id(identity)


def advance(identity: str, since: int, offset: int, line: int, events: int, rejected: int) -> bool:
    """Go on with an import, inside the transaction that stores its events.

    Args:
        since: the offset that it must have, else somebody else has gone on with it: False, and nothing is changed.
        offset, line: where it is then.
        events, rejected: how many more there are.
    """
    changed = EventImport.update(
        offset=offset, line=line, events=EventImport.events + events, rejected=EventImport.rejected + rejected
    ).where(EventImport.identity == identity, EventImport.offset == since, EventImport.finished.is_null())
    return changed.execute() == 1


def finish(identity: str, now: int) -> None:
    """There is no more in its file."""
    EventImport.update(finished=now).where(EventImport.identity == identity, EventImport.finished.is_null()).execute()


def forget(identity: str) -> None:
    """Import a file anew next time, if it was imported to its end."""
    EventImport.delete().where(EventImport.identity == identity, EventImport.finished.is_null(False)).execute()
