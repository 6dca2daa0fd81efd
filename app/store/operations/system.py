"""Queries about the installation: running reports, upcoming expiry, sizes."""

from __future__ import annotations

from collections.abc import Sequence

from peewee import Field, fn

from app.store.database import database
from app.store.models import AuditEntry, IdempotencyKey, RejectedEvent, Report, ReportPart
from app.store.queries import among, fetch
from app.store.reports.reports import HELD, WAITS, about

MAX_COUNTED = 100_000  # maximum number of rows to count exactly
Customers = Sequence[str] | None  # customers visible to the user; None means all


def at_work() -> list[Report]:
    """Return the reports that workers hold."""
    return list(Report.select().where(HELD).order_by(Report.id))


def helping() -> list[tuple[str, str]]:
    """Return the workers that write a part of a report that another worker holds: (worker, report's UUID)."""
    query = ReportPart.select(ReportPart.worker, ReportPart.job).distinct()
    return fetch(query.where(~ReportPart.done, ReportPart.token.is_null(False)))


def waiting() -> int:
    return Report.select().where(WAITS).count()


def rejected(customers: Customers, before: int) -> tuple[int, int | None, int]:
    """Return the number of stored rejected events, the oldest one's time, and how many are older than a time."""
    return _count_kept(RejectedEvent.received_at, before, RejectedEvent.customer, customers)


def keys(before: int) -> tuple[int, int | None, int]:
    """Return the same as `rejected` for idempotency keys."""
    return _count_kept(IdempotencyKey.created_at, before)


def audited(before: int) -> tuple[int, int | None, int]:
    """Return the same as `rejected` for entries of the audit log."""
    return _count_kept(AuditEntry.recorded_at, before)


def files(customers: Customers, before: int) -> tuple[int, int, int | None, int]:
    """Return the number of stored report files, their bytes, the first expiry, and how many expire before a time."""
    kept = (Report.status == "COMPLETE") & ~Report.removed & Report.file.is_null(False)
    query = Report.select(fn.count(Report.id), fn.sum(Report.bytes), fn.min(Report.expires_at)).where(kept)
    ((number, size, first),) = fetch(about(query, customers))
    going = about(Report.select().where(kept, Report.expires_at < before), customers).count()
    return number, int(size or 0), first, going


def server() -> str:
    return database.server()


def size() -> int:
    return database.size()


def _count_kept(
    time: Field[int], before: int, customer: Field[str] | None = None, customers: Customers = None
) -> tuple[int, int | None, int]:
    query = time.model.select()
    if customer is not None:
        query = among(query, customer, customers)
    number = query.limit(MAX_COUNTED + 1).count()
    oldest = query.select(fn.min(time)).scalar()
    return number, oldest, query.where(time < before).limit(MAX_COUNTED + 1).count()
