"""Queries about the installation itself: who is at work, what goes next, how large things are."""

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

MOST = 100_000  # rows that are counted one by one
Customers = Sequence[str] | None  # those that somebody may see; None: all


def at_work() -> list[Report]:
    """The reports that workers are at."""
    return list(Report.select().where(Report.status == "RUNNING", Report.token.is_null(False)).order_by(Report.id))


def helping() -> list[tuple[str, str]]:
    """The workers that write a part of a report which another holds: (worker, report's UUID)."""
    query = ReportPart.select(ReportPart.worker, ReportPart.job).distinct()
    return list(query.where(~ReportPart.done, ReportPart.token.is_null(False)).tuples())


def waiting() -> int:
    """How many reports wait for a worker."""
    return Report.select().where(Report.status == "RUNNING", Report.token.is_null()).count()


def oldest_hour(customers: Customers) -> int | None:
    """The first hour that has events."""
    same = (HourlyCount.customer == ObservedCode.customer) & (HourlyCount.product == ObservedCode.product)
    first = HourlyCount.select(fn.min(HourlyCount.hour)).where(same, HourlyCount.type == ObservedCode.type)
    return _of(ObservedCode, ObservedCode.select(fn.min(first)), customers).scalar()


def events_before(moment: int, customers: Customers) -> int:
    """How many events are older, the hour that a time is in left out."""
    query = HourlyCount.select(fn.sum(HourlyCount.number)).where(HourlyCount.hour <= moment - HOUR_MS)
    return int(_of(HourlyCount, query, customers).scalar() or 0)


def rejected(customers: Customers, before: int) -> tuple[int, int | None, int]:
    """How many rejected events are kept, since when the oldest of them, and how many are older than a time."""
    return _kept(RejectedEvent, RejectedEvent.received, before, customers)


def keys(before: int) -> tuple[int, int | None, int]:
    """The same of idempotency keys."""
    return _kept(IdempotencyKey, IdempotencyKey.created, before, None)


def audited(before: int) -> tuple[int, int | None, int]:
    """The same of the audit log's entries."""
    return _kept(AuditEntry, AuditEntry.moment, before, None)


def files(customers: Customers, before: int) -> tuple[int, int, int | None, int]:
    """How many report files are kept, their bytes, when the first of them goes, and how many go before a time."""
    kept = (Report.status == "COMPLETE") & ~Report.removed & Report.file.is_null(False)
    query = Report.select(fn.count(Report.id), fn.sum(Report.bytes), fn.min(Report.expires)).where(kept)
    number, size, first = _of(Report, query, customers).tuples().get()
    going = _of(Report, Report.select().where(kept, Report.expires < before), customers).count()
    return number, int(size or 0), first, going


def uncounted() -> int:
    """How many ids lie behind the last counted event: about so many events are not in the hourly counts yet."""
    from_counts = database.execute_sql("SELECT coalesce(max(up_to), 0) FROM counted").fetchone()[0]
    return max(0, (Event.select(fn.max(Event.id)).scalar() or 0) - from_counts)


def server() -> str:
    """What the database is, and its version."""
    return database.server()


def size() -> int:
    """How many bytes the database takes."""
    return database.size()


def _kept(model: type[Model], moment: Field, before: int, customers: Customers) -> tuple[int, int | None, int]:
    number = _of(model, model.select(), customers).limit(MOST + 1).count()
    oldest = _of(model, model.select(fn.min(moment)), customers).scalar()
    going = _of(model, model.select().where(moment < before), customers).limit(MOST + 1).count()
    return number, oldest, going


def _of(model: type[Model], query: ModelSelect, customers: Customers) -> ModelSelect:
    return query if customers is None else query.where(model.customer.in_(list(customers)))
