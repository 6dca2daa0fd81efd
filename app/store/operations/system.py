"""Queries about the installation: running reports, upcoming expiry, sizes."""

from __future__ import annotations

from collections.abc import Sequence

from peewee import Field, Model, ModelSelect, fn

from app.store.database import database
from app.store.events.hourly_counts import HOUR_MS
from app.store.models import (
    AuditEntry,
    Event,
    HourlyCount,
    IdempotencyKey,
    ObservedCode,
    RejectedEvent,
    Report,
    ReportPart,
)

MOST = 100_000  # maximum number of rows to count exactly
Customers = Sequence[str] | None  # customers visible to the user; None means all


def at_work() -> list[Report]:
    """Return the reports that workers hold."""
    return list(Report.select().where(Report.status == "RUNNING", Report.token.is_null(False)).order_by(Report.id))


def helping() -> list[tuple[str, str]]:
    """Return the workers that write a part of a report that another worker holds: (worker, report's UUID)."""
    query = ReportPart.select(ReportPart.worker, ReportPart.job).distinct()
    return list(query.where(~ReportPart.done, ReportPart.token.is_null(False)).tuples())


def waiting() -> int:
    """Return the number of reports that wait for a worker."""
    return Report.select().where(Report.status == "RUNNING", Report.token.is_null()).count()


def oldest_hour(customers: Customers) -> int | None:
    """Return the first hour that has events."""
    same = (HourlyCount.customer == ObservedCode.customer) & (HourlyCount.product == ObservedCode.product)
    first = HourlyCount.select(fn.min(HourlyCount.hour)).where(same, HourlyCount.type == ObservedCode.type)
    return _of(ObservedCode, ObservedCode.select(fn.min(first)), customers).scalar()


def events_before(moment: int, customers: Customers) -> int:
    """Return the number of events older than a time, without those of the hour that contains it."""
    query = HourlyCount.select(fn.sum(HourlyCount.number)).where(HourlyCount.hour <= moment - HOUR_MS)
    return int(_of(HourlyCount, query, customers).scalar() or 0)


def rejected(customers: Customers, before: int) -> tuple[int, int | None, int]:
    """Return the number of stored rejected events, the oldest one's time, and how many are older than a time."""
    return _kept(RejectedEvent, RejectedEvent.received, before, customers)


def keys(before: int) -> tuple[int, int | None, int]:
    """Return the same as `rejected` for idempotency keys."""
    return _kept(IdempotencyKey, IdempotencyKey.created, before, None)


def audited(before: int) -> tuple[int, int | None, int]:
    """Return the same as `rejected` for entries of the audit log."""
    return _kept(AuditEntry, AuditEntry.moment, before, None)


def files(customers: Customers, before: int) -> tuple[int, int, int | None, int]:
    """Return the number of stored report files, their bytes, the first expiry, and how many expire before a time."""
    kept = (Report.status == "COMPLETE") & ~Report.removed & Report.file.is_null(False)
    query = Report.select(fn.count(Report.id), fn.sum(Report.bytes), fn.min(Report.expires)).where(kept)
    number, size, first = _of(Report, query, customers).tuples().get()
    going = _of(Report, Report.select().where(kept, Report.expires < before), customers).count()
    return number, int(size or 0), first, going


def uncounted() -> int:
    """Return the number of ids after the watermark, which is about the number of events not counted yet."""
    from_counts = database.execute_sql("SELECT coalesce(max(up_to), 0) FROM counted").fetchone()[0]
    return max(0, (Event.select(fn.max(Event.id)).scalar() or 0) - from_counts)


def server() -> str:
    """Return the name and version of the database."""
    return database.server()


def size() -> int:
    """Return the size of the database in bytes."""
    return database.size()


def _kept(model: type[Model], moment: Field, before: int, customers: Customers) -> tuple[int, int | None, int]:
    number = _of(model, model.select(), customers).limit(MOST + 1).count()
    oldest = _of(model, model.select(fn.min(moment)), customers).scalar()
    going = _of(model, model.select().where(moment < before), customers).limit(MOST + 1).count()
    return number, oldest, going


def _of(model: type[Model], query: ModelSelect, customers: Customers) -> ModelSelect:
    return query if customers is None else query.where(model.customer.in_(list(customers)))
