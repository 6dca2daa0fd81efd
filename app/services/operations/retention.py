"""Retention: erases events permanently, either on request or because they are older than EVENT_KEEP_DAYS.

Matching rejected events are erased, too. Report files are copies: an erasure lists them, and removes them only on
request. docs/operations.md describes other copies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import structlog

from app.exceptions import BodyMalformed, Forbidden
from app.schemas import json
from app.schemas.fields import whole
from app.services.events.rejected import erase_from, texts_of
from app.services.people import audit
from app.services.people.principal import Principal
from app.services.reports.output import selection
from app.services.reports.service import Reports
from app.store.database import server_time
from app.store.events import erase as store
from app.store.events import hourly_counts, rejected, select
from app.store.events.filters import EventFilter
from app.store.events.rejected_filter import RejectedFilter
from app.store.models import RejectedRequest, Report
from app.support.clock import DAY_MS

REJECTED_AT_ONCE = 500

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ErasurePlan:
    """Preview of an erasure."""

    doomed: EventFilter  # filter for the events, limited to events that exist now
    events: int  # number of matching events
    rejected: Sequence[int]  # ids of the matching rejected events
    waiting: int  # number of matching valid events in refused requests
    reports: Sequence[Report]  # reports whose file contains some of the events, or may contain them when it is complete
    newest: int  # id of the newest report at that time

    @property
    def rejected_number(self) -> int:
        """Return how many of the events to erase were never stored."""
        return len(self.rejected) + self.waiting


class Retention:
    """Erases events. Concurrent erasures are serialized chunk by chunk."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def plan(self, wanted: Mapping[str, Any]) -> ErasurePlan:
        """Return what an erasure would remove, without removing anything. `wanted` is the result of `ErasingSchema`."""
        doomed = _filter(**wanted, snapshot_max_id=store.counted_cut())
        number = select.count(doomed)
        met = store.reports(doomed) if number else []
        reports = [report for report in met if store.has_any(doomed, selection(report))]
        waiting = sum(len(places - elsewhere) for _, places, elsewhere in _fitting_requests(doomed))
        owners, fitting, last = (doomed.customer or "", ""), list[int](), 0
        while doomed.batch is None and (page := rejected.of_customers(owners, REJECTED_AT_ONCE, after=last)):
            last = page[-1].id
            fitting += [one.id for one in page if _fits(doomed, one.event)]  # as far as their content shows it
        return ErasurePlan(doomed, number, fitting, waiting, reports, store.newest_report())

    def erase(self, who: Principal, plan: ErasurePlan, *, delete_files: bool = False) -> Iterator[int]:
        """Erase the events of a plan, and yield the number of events of each chunk. An interruption undoes nothing.

        With `delete_files`, remove the report files that contain some of the events, and restart running reports.
        """
        customer, product = plan.doomed.customer or "", plan.doomed.product
        name = f"customer {customer}" + (f", product {product}" if product else "")
        audit.note(who, "events erased", name, _audit_details(plan, delete_files), customer=customer)
        with closing(store.erase(plan.doomed)) as steps:
            yield from steps
        for begin in range(0, len(plan.rejected), REJECTED_AT_ONCE):
            rejected.remove(plan.rejected[begin : begin + REJECTED_AT_ONCE])
        for request, places, _ in _fitting_requests(plan.doomed):
            erase_from(request, places)
        if delete_files:
            meanwhile = [report for report in store.reports(plan.doomed) if report.id > plan.newest]
            for report in (*plan.reports, *meanwhile):
                if not self._reports.cancel(who, report):
                    self._reports.delete(who, report)
                    continue
                with suppress(Forbidden):  # its bucket is no longer allowed, so it stays cancelled
                    self._reports.retry(who, report)

    def expire(self, days: int) -> None:
        """Erase the counted events that are older than a number of days, and give the space back that SQLite can."""
        number = sum(
            store.erase(_filter(before=server_time() - days * DAY_MS, snapshot_max_id=hourly_counts.watermark()))
        )
        if number:
            log.info("events past EVENT_KEEP_DAYS erased", events=number)


def _filter(*, after: int | None = None, before: int | None = None, **wanted: Any) -> EventFilter:
    """Return the filter for the events to erase, from `after`, inclusive, to `before`, exclusive."""
    return EventFilter(start=after, end=None if before is None else before - 1, **wanted)


def _fitting_requests(doomed: EventFilter) -> Iterator[tuple[RejectedRequest, set[int], set[int]]]:
    """Yield refused requests with matching events, the places of these, and the places of those excluded from it.

    Events that were removed from a request or sent alone are still in its body.
    """
    before = None
    while doomed.batch is None and (
        page := rejected.requests(REJECTED_AT_ONCE, before=before, wanted=RejectedFilter((doomed.customer or "", "")))
    ):
        before = page[-1].id
        for listed in page:
            request = rejected.request(listed.uuid)
            if request is None:
                continue
            texts, invalid = texts_of(request)
            if places := {place for place, text in texts.items() if _fits(doomed, text)}:
                yield request, places, invalid | set(listed.excluded_places)


def _fits(doomed: EventFilter, text: str) -> bool:
    try:
        event = json.parse(text.encode())
    except BodyMalformed:
        return False
    if not isinstance(event, dict) or event.get("customer") != doomed.customer:
        return False
    sent = event.get("timestamp")
    moment = whole(sent.text) if isinstance(sent, json.Number) else None
    context = event.get("context")
    items = context if isinstance(context, list) else []
    return (
        doomed.product in (None, event.get("product"))
        and (not doomed.types or event.get("type") in doomed.types)
        and (doomed.start is None or (moment is not None and moment >= doomed.start))
        and (doomed.end is None or (moment is not None and moment <= doomed.end))
        and (doomed.item is None or doomed.item in [getattr(item, "text", item) for item in items])
    )


def _audit_details(plan: ErasurePlan, delete_files: bool) -> dict[str, object]:
    """Return the details for the audit log, without a context item, which may be the personal data to erase."""
    doomed = plan.doomed
    details: dict[str, object] = {"types": doomed.types, "after": doomed.start}
    details |= {"before": None if doomed.end is None else doomed.end + 1, "batch": doomed.batch}
    details |= {"by context": True} if doomed.item is not None else {}
    return {name: value for name, value in details.items() if value not in (None, ())} | {
        "events": plan.events,
        "rejected": plan.rejected_number,
        "files deleted" if delete_files else "files kept": [f"JOB-{report.job}" for report in plan.reports],
    }
