"""Queries about the parts of reports that are written piece by piece. The same rule: a token, or nothing changes."""

from __future__ import annotations

from collections.abc import Sequence

from peewee import Select, fn

from app.store.models import Report, ReportPart
from app.store.reports.reports import RUNNING, clock

Part = ReportPart
OPEN = ~Part.done & Part.token.is_null()


def plan(job: str, stretches: Sequence[tuple[int | None, int | None]]) -> None:
    """Make a report's parts; inside the transaction that notes that it is planned."""
    forget(job)
    rows = [{"job": job, "number": number, "start": start, "end": end} for number, (start, end) in enumerate(stretches)]
    if rows:
        Part.insert_many(rows).execute()


def claim(job: str, token: str, worker: str) -> Part | None:
    """Take the first part that nobody writes or wrote; None where there is none."""
    while True:
        part = Part.select().where(Part.job == job, OPEN).order_by(Part.number).first()
        if part is None:
            return None
        taken = Part.update(token=token, worker=worker, heartbeat_at=clock(), rows=0).where(Part.id == part.id, OPEN)
        if taken.execute() == 1:
            return part


def note(part: Part, token: str, /, **values: object) -> bool:
    """Write a part's progress; False where it is another's now, or its report is no more."""
    held = (Part.id == part.id) & (Part.token == token) & ~Part.done
    return Part.update(heartbeat_at=clock(), **values).where(held).execute() == 1


def give_back(part: Part, token: str) -> None:
    """Let another write a part."""
    note(part, token, token=None, worker=None, rows=0)


def write_again(part: Part) -> None:
    """What was written is gone."""
    gone = (Part.id == part.id) & (Part.file == part.file)
    Part.update(done=False, token=None, worker=None, rows=0, bytes=0, file=None).where(gone).execute()


def release_of(worker: str) -> None:
    """Take back what a worker that is gone was at."""
    Part.update(token=None, worker=None, rows=0).where(~Part.done, Part.worker == worker).execute()


def release_silent(job: str, milliseconds: int) -> None:
    """Take back what nobody has given a sign of life of for so long."""
    quiet = Part.heartbeat_at < clock() - milliseconds
    Part.update(token=None, worker=None, rows=0).where(Part.job == job, ~Part.done, quiet).execute()


def of(job: str) -> list[Part]:
    """A report's parts in order."""
    return list(Part.select().where(Part.job == job).order_by(Part.number))


def rows(job: str) -> int:
    """How many rows of a report's parts are written, by all who write."""
    return int(Part.select(fn.sum(Part.rows)).where(Part.job == job).scalar() or 0)


def open_number(job: str) -> int:
    """How many parts nobody writes or wrote."""
    return Part.select().where(Part.job == job, OPEN).count()


def are_done(job: str) -> bool:
    """Whether all are written."""
    return not Part.select().where(Part.job == job, ~Part.done).exists()


def forget(job: str) -> None:
    """The parts are of no more use."""
    Part.delete().where(Part.job == job).execute()


def forget_ended(job: str) -> None:
    """The same where the report has ended. It may be tried again at this very moment, and have new ones already."""
    Part.delete().where(Part.job == job, Part.job.not_in(_running())).execute()


def forget_all_ended() -> None:
    """The same for every report that has ended."""
    Part.delete().where(Part.job.not_in(_running())).execute()


def _running() -> Select:
    return Report.select(Report.job).where(Report.status == RUNNING)
