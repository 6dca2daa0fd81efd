"""Queries about the parts of reports that are written separately. As with reports, writes require the current token."""

from __future__ import annotations

from collections.abc import Sequence

from peewee import fn

from app.store.models import Report, ReportPart
from app.store.queries import execute, fetch_int
from app.store.reports.reports import RUNNING, clock

Part = ReportPart
OPEN = ~Part.done & Part.token.is_null()
ENDED = Part.job.not_in(Report.select(Report.job).where(Report.status == RUNNING))


def plan(job: str, stretches: Sequence[tuple[int | None, int | None]]) -> None:
    """Create a report's parts. Call it inside the transaction that records the report as planned."""
    forget(job)
    rows = [{"job": job, "number": number, "start": start, "end": end} for number, (start, end) in enumerate(stretches)]
    if rows:
        execute(Part.insert_many(rows))


def claim(job: str, token: str, worker: str) -> Part | None:
    """Claim the first part that is neither written nor being written, or return None if there is none."""
    while True:
        part: Part | None = Part.select().where(Part.job == job, OPEN).order_by(Part.number).first()
        if part is None:
            return None
        taken = Part.update(token=token, worker=worker, heartbeat_at=clock(), rows=0).where(Part.id == part.id, OPEN)
        if execute(taken) == 1:
            return part


def note(part: Part, token: str, /, **values: object) -> bool:
    """Record a part's progress, or return False if another worker holds it or its report no longer exists."""
    held = (Part.id == part.id) & (Part.token == token) & ~Part.done
    return execute(Part.update(heartbeat_at=clock(), **values).where(held)) == 1


def give_back(part: Part, token: str) -> None:
    """Release a part so that another worker can write it."""
    note(part, token, token=None, worker=None, rows=0)


def write_again(part: Part) -> None:
    """Mark a part as not written, because its file is missing."""
    gone = (Part.id == part.id) & (Part.file == part.file)
    execute(Part.update(done=False, token=None, worker=None, rows=0, bytes=0, file=None).where(gone))


def release_of(worker: str) -> None:
    """Release the unfinished parts of a worker that has died."""
    execute(Part.update(token=None, worker=None, rows=0).where(~Part.done, Part.worker == worker))


def release_silent(job: str, milliseconds: int) -> None:
    """Release the unfinished parts of a report that have had no heartbeat for a time."""
    quiet = Part.heartbeat_at < clock() - milliseconds
    execute(Part.update(token=None, worker=None, rows=0).where(Part.job == job, ~Part.done, quiet))


def of(job: str) -> list[Part]:
    return list(Part.select().where(Part.job == job).order_by(Part.number))


def rows(job: str) -> int:
    """Return the number of rows written in all parts of a report."""
    return fetch_int(Part.select(fn.sum(Part.rows)).where(Part.job == job))


def open_number(job: str) -> int:
    """Return the number of parts that are neither written nor being written."""
    return Part.select().where(Part.job == job, OPEN).count()


def are_done(job: str) -> bool:
    return not Part.select().where(Part.job == job, ~Part.done).exists()


def forget(job: str) -> None:
    execute(Part.delete().where(Part.job == job))


def forget_ended(job: str) -> None:
    """Remove a report's parts if it has ended. It may be run again concurrently and already have new parts."""
    execute(Part.delete().where(Part.job == job, ENDED))


def forget_all_ended() -> None:
    execute(Part.delete().where(ENDED))
