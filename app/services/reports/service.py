"""Reports: accepted by a committed row, run by the worker that claims it, downloaded by signed link.

The row is authoritative. Redis only wakes a worker, and `cleanup` queues any report whose wake-up was missed.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import structlog

from app.config import Settings
from app.event_columns import COLUMNS as EVENT_COLUMNS
from app.exceptions import (
    FieldError,
    Forbidden,
    InputInvalid,
    RateLimited,
    ReportEnded,
    ReportExpired,
    ReportFailed,
    ReportRunning,
    ReportUnknown,
)
from app.exports.layout import COLUMNS, EXTRA, POSITIONAL, Layout
from app.redis.queue import ReportQueue
from app.schemas.fields import CONTROL, MAX_CODE
from app.schemas.reports import SEVERAL, in_words, source
from app.services.catalog.lookup import Catalog
from app.services.people import audit
from app.services.people.audit import nobody
from app.services.people.principal import Principal
from app.services.reports import fair_queue
from app.services.reports.cleanup import Cleanup
from app.services.reports.output import Destinations, file_name, format_of
from app.storage.links import Links
from app.store.database import read, transaction
from app.store.events import hourly_counts, pages, select
from app.store.events.filters import EventFilter
from app.store.models import Report, ReportAttempt
from app.store.reports import reports as store
from app.store.reports.reports import Outcome, ReportFilter
from app.support.clock import now

SOURCE = re.compile(r"JOB-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
NO_PARQUET = (
    'output.format is "parquet"; it must be "csv" or "jsonl", as pyarrow is not installed here (the extra "parquet").'
)

ONE_PRODUCT = (
    'output.layout is "columns"; it must be "positional" for several products, because each has its own columns.'
)
ROOM_SECONDS = 60  # Retry-After for a user with too many waiting reports
REMOVED = "The report's file was removed, or another took its place. Start the report again."
HEARD_MS = 2_500  # five heartbeats; a page says within five seconds that a worker was killed
MAX_PREVIEWED_ROWS = 200_000  # events that a preview counts
SAMPLE_ROWS = 5
EMPTY = {"customer": None, "product": None}  # defaults for a filter that has `customers` or `products` instead
BEFORE_ALL = (0, -1)  # a position before that of any event
LINK_SECONDS = 60  # validity of the storage's own link, which our longer-lived link creates on each use

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Page:
    """Page of reports, and the cursor of the next page if there is one."""

    reports: list[Report]
    next: str | None


@dataclass(frozen=True)
class Preview:
    """Preview of a report's file.

    Attributes:
        columns: column names. Those of a positional layout are only partly known in advance.
        rows: the first rows of the file.
        missing: columns of an event that the file has not.
        has_extra: whether a column has the items without their own.
        is_whole: whether the file includes the whole context of each event.
        losing: number of rows that would lose items, if it can be counted quickly.
    """

    columns: list[str]
    rows: list[Sequence[object]]
    missing: list[str]
    has_extra: bool
    is_whole: bool
    losing: int | None


@dataclass(frozen=True)
class Download:
    """Report file for the holder of a download link: a local path, or a link to another storage for LINK_SECONDS."""

    report: Report
    name: str
    media_type: str
    path: Path | None
    link: str | None


class Reports:
    """Report service of a process, for the dashboard, the API and commands."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        destinations: Destinations,
        queue: ReportQueue,
        cleanup: Cleanup,
    ) -> None:
        self.destinations = destinations
        self.queue = queue
        self.cleanup = cleanup
        self._settings = settings
        self._catalog = catalog

    @cached_property
    def _links(self) -> Links:
        return Links(self._settings.base_url, self._settings.secret())

    def start(
        self,
        who: Principal,
        filter: Mapping[str, Any],
        output: Mapping[str, Any] | None,
        *,
        name: str | None = None,
        after: int | None = None,
        origin: int | None = None,
    ) -> Report:
        """Accept a report: commit its row, then wake a worker.

        Args:
            filter, output: the result of `ReportRequestSchema`. An output of None means that none was sent.
            name: what people call the report; without one, they see its filter.
            after: the id of the last event of an earlier report. This report has only events after it.
            origin: the recurring report that starts this report.

        Raises:
            Forbidden: the caller may not see the customer, or the bucket is not allowed.
            InputInvalid: a code is not known, the product has no columns, the format cannot be written here, or the
                name is invalid.
            RateLimited: see `check_room`.
        """
        if origin is None:
            self.check_room(who.id)
        name = check_name(name)
        layout = self._check_request(who, filter, output)
        selected = {key: filter.get(key) for key in ("types", "start", "end", *SEVERAL)}
        selected |= {one: in_words(codes) for one, codes in _codes(filter).items()}
        with transaction():
            cut = select.acceptance_cut()
            estimated_rows = hourly_counts.estimate(*_counted(filter))
            report = store.add(
                job=str(uuid.uuid4()),
                account=who.id,
                account_name=who.name,
                schedule=origin,
                name=name,
                layout=layout.to_json(),
                output=output,
                snapshot_min_id=after,
                snapshot_max_id=cut,
                estimated_rows=max(0, min(cut - (after or 0), estimated_rows)),
                started_at=store.now(),
                **selected,
            )
            self._note(who, "report started", report)
        self.queue.enqueue(report.job)
        return report

    def check_room(self, account: int | None) -> None:
        """Raise RateLimited if a user has the maximum number of waiting or running reports. Commands have no limit."""
        most = self._settings.reports_waiting_max
        if account and store.number(store.RUNNING, account, None) >= most:
            raise RateLimited(
                f"Not started: {most:,} of the user's reports wait or run already, the most that may at "
                "once (REPORTS_WAITING_MAX). Wait until some have ended, or cancel some.",
                ROOM_SECONDS,
            )

    def preview(self, who: Principal, filter: Mapping[str, Any], output: Mapping[str, Any] | None) -> Preview:
        """Return a preview of the file of a report that would start now; it raises the same as `start`."""
        layout, format = self._check_request(who, filter, output), format_of(output)
        is_whole, losing = format.effective_layout(layout).keeps_extras, None
        if not is_whole and hourly_counts.estimate(*_counted(filter)) <= MAX_PREVIEWED_ROWS:
            losing = select.measure(select.Selection(**{**EMPTY, **filter}), layout).extra_rows
        first = EventFilter(**filter, before=BEFORE_ALL)
        rows = read(lambda: pages.page(first, SAMPLE_ROWS))[::-1]
        columns, values = format.sample([row[:-1] for row in rows], layout)  # without its id
        columns += ["…"] if format.columns(layout, None)[-1] == "…" else []
        missing = [name for name in EVENT_COLUMNS if name not in (*format.columns(layout, None), "context")]
        return Preview(columns, values, missing, EXTRA in format.effective_layout(layout).columns, is_whole, losing)

    def columns(self, report: Report) -> list[str]:
        """Return the column names of a report's file."""
        return format_of(report.output).columns(Layout.from_json(report.layout), report.width)

    def get(self, who: Principal, name: str, *, to_read: bool = False) -> Report:
        """Return a report by its source. Raise ReportUnknown if it does not exist, or the caller may not see it.

        Args:
            to_read: the caller only reads it, as the recipients of its recurring report may.
        """
        report = _by_source(name)
        is_visible = (
            report
            and who.sees(*report.all_customers)
            and (self.may_change(who, report) or (to_read and store.is_recipient(report, who.id)))
        )
        if report is None or not is_visible:
            raise ReportUnknown(f"There is no report {name[:60]}, or it is not yours.")
        return report

    def may_change(self, who: Principal, report: Report) -> bool:
        """Return whether a user who sees a report's customer may change the report."""
        return report.account == who.id or who.sees_all_reports

    def page(self, who: Principal, *, status: str | None, limit: int, after: int | None) -> Page:
        """Return a page of the reports that the caller started, newest first."""
        found = store.newest(limit + 1, account=who.id, customers=who.customers, status=status, before=after)
        more = str(found[limit - 1].id) if len(found) > limit else None
        return Page(found[:limit], more)

    def visible(
        self,
        who: Principal,
        limit: int,
        *,
        status: str | None = None,
        state: str | None = None,
        sought: ReportFilter | None = None,
        before: int | None = None,
    ) -> list[Report]:
        """Return the newest reports that the caller may see.

        Args:
            state: only reports in this state of `store.reports.STATES`.
            before: only reports with a lower id, for the next page.
        """
        account, customers = None if who.sees_all_reports else who.id, who.customers
        return store.newest(
            limit, account=account, customers=customers, status=status, state=state, sought=sought, before=before
        )

    def users(self, who: Principal, limit: int) -> list[str]:
        """Return the names of the users whose reports the caller may see, or none if those are the caller's only."""
        return store.users(who.customers, limit) if who.sees_all_reports else []

    def at_work(self, who: Principal) -> int:
        """Return how many of the reports that the caller may see are waiting or running."""
        return store.number(store.RUNNING, None if who.sees_all_reports else who.id, who.customers)

    def attempts(self, report: Report) -> list[ReportAttempt]:
        """Return the attempts at a report, oldest first."""
        return store.attempts(report.job)

    def silence_ms(self, report: Report) -> int | None:
        """Return for how long the worker of a running report has been silent, or None if it is heard or has none."""
        if report.status != store.RUNNING or report.token is None or report.heartbeat_at is None:
            return None
        silence = store.now() - report.heartbeat_at
        return silence if silence > HEARD_MS else None

    def place_in_queue(self, report: Report) -> int | None:
        """Return a report's position in the queue, starting at 1, or None if it is not waiting."""
        if report.status != store.RUNNING or report.token is not None:
            return None
        waiting = [queued.id for queued in fair_queue.queue()]
        return waiting.index(report.id) + 1 if report.id in waiting else None

    def rename(self, who: Principal, report: Report, name: str | None) -> None:
        """Give a report another name, or none. Raise InputInvalid if the name is invalid."""
        name = check_name(name)
        with transaction():
            store.rename(report.job, name)
            self._note(who, "report renamed", report, {"name": name or "", "before": report.name or ""})

    def cancel(self, who: Principal, report: Report) -> bool:
        """Cancel a report, whose worker stops within two seconds. Return False if it has already ended."""
        reason = f"Cancelled by {who.name}."
        with transaction():
            if not store.end(report.job, store.FAILED, reason, store.now(), cancelled=True):
                return False
            self._note(who, "report cancelled", report)
            store.end_attempts(report.job, Outcome.CANCELLED, store.now(), reason)
        log.info("report cancelled", report=report.job, by=who.name)
        self.destinations.discard_leftovers(report.job)
        return True

    def delete(self, who: Principal, report: Report) -> None:
        """Cancel a waiting or running report. Otherwise remove its file, if any; the row stays and is marked."""
        if self.cancel(who, report):
            return
        current = store.by_job(report.job)  # it may have ended a moment ago
        if current and current.file and not current.removed:
            self._note(who, "report deleted", current)
            self.cleanup.remove_file(current)

    def retry(self, who: Principal, report: Report) -> Report:
        """Retry a report that has no file, with its original snapshot.

        Raises:
            ReportRunning, ReportEnded: the report has not failed.
            Forbidden: its bucket is no longer allowed.
            RateLimited: see `check_room`.
        """
        self.check_room(report.account)
        with transaction():
            if not store.run_again(report.job):
                if store.running_among([report.job]):
                    raise ReportRunning("The report runs, so there is nothing to try again.")
                raise ReportEnded("The report is complete, so there is nothing to try again. Start a new one.")
            self.destinations.check(report.output or {})
            self._note(who, "report retried", report)
        self.queue.enqueue(report.job)
        return store.by_job(report.job) or report

    def link(self, report: Report, *, by: Principal | None = None) -> str:
        """Return a new link to a report's file, valid for 15 minutes, for a user or (None) a program that waits for it.

        Raises:
            ReportRunning, ReportFailed, ReportExpired: there is no file (yet, ever, any more).
        """
        self._existing_file(report)
        if by is not None:
            self._note(by, "report link given", report)
        return self._links.make(source(report), now())

    def path(self, report: Report) -> Path | None:
        """Return the local path of a report's file, or None if it is stored elsewhere; it raises the same as `link`."""
        return self.destinations.place(report).path(self._existing_file(report))

    def open(self, report: Report) -> BinaryIO:
        """Return a report's file as a stream, from any storage; it raises the same as `link`."""
        return self.destinations.place(report).open(self._existing_file(report), etag=report.etag)

    def file(self, name: str, expires: str, nonce: str, signature: str) -> Download:
        """Return the file that a link refers to. Raise LinkInvalid, or ReportExpired if the file was removed."""
        self._links.check(name, expires, nonce, signature, now())
        report = _by_source(name)
        if report is None or not report.file or report.removed or not self.destinations.has(report):
            raise ReportExpired(REMOVED)
        place, media_type = self.destinations.place(report), format_of(report.output).media_type
        link = place.link(report.file, file_name(report), media_type, LINK_SECONDS, report.etag)
        path = place.path(report.file)
        if link is None and path is None:  # it was removed just now
            raise ReportExpired(REMOVED)
        return Download(report, file_name(report), media_type, path, link)

    def note_download(self, report: Report, who: Principal | None, address: str) -> None:
        """Record a download of the file by a signed-in user, or by the holder of a link (None) at an address."""
        self._note(who or nobody(address), "report downloaded", report)

    def _note(self, who: Principal, action: str, report: Report, details: Mapping[str, object] | None = None) -> None:
        details = {"product": report.product} | dict(details or {})
        customer = "" if report.customers else report.customer
        if report.customers and who.sees(*report.customers):  # an erasure may change a report that one may not see
            details["customers"] = report.customer
        audit.note(who, action, f"report {source(report)}", details, customer=customer)

    def _check_request(self, who: Principal, filter: Mapping[str, Any], output: Mapping[str, Any] | None) -> Layout:
        """Return the layout of a requested report after checking that the caller may start it."""
        customers, products = _codes(filter).values()
        if hidden := [code for code in customers if not who.sees(code)]:
            raise Forbidden(f"You may not see data of the customer {hidden[0]}.")
        output = output or {}
        self.destinations.check(output)
        customer, product = (filter.get(several) or filter[one] for several, one in SEVERAL.items())
        self._catalog.check_known(who, customer, product, filter.get("types"))
        format = format_of(output)
        if not format.is_installed():
            raise InputInvalid("The report's output cannot be made.", [FieldError(NO_PARQUET)])
        wanted = output.get("layout") if format.has_layout else None
        if len(products) > 1 and wanted == COLUMNS:
            raise InputInvalid("The report cannot have this layout.", [FieldError(ONE_PRODUCT)])
        layout = Layout(POSITIONAL) if len(products) > 1 else self._catalog.layout(products[0], wanted)
        lead = tuple(one for one, codes in _codes(filter).items() if len(codes) > 1)
        return format.accepted_layout(replace(layout, lead=lead))

    def _existing_file(self, report: Report) -> str:
        """Return the storage's key of a report's file; see `link` for what it raises."""
        if report.status == store.RUNNING:
            raise ReportRunning("The report still runs, so there is no file yet. Ask for its availability again soon.")
        if report.status != store.COMPLETE:
            raise ReportFailed(f"The report has no file. {report.reason or ''}".strip())
        if report.file is None or report.removed or not self.destinations.has(report):
            raise ReportExpired(f"The report's file {_explain_missing(report)}. Start a new report.")
        return report.file


def check_name(name: str | None) -> str | None:
    """Return a report's name without surrounding spaces, or None if it is empty. Raise InputInvalid if invalid."""
    name = (name or "").strip()
    if len(name) > MAX_CODE or CONTROL.search(name):
        found = "has a control character" if CONTROL.search(name) else f"has {len(name)} characters"
        fault = FieldError(
            f"name {found}; it must have at most {MAX_CODE} characters, none of them a control character."
        )
        raise InputInvalid("The report cannot have this name.", [fault])
    return name or None


def _codes(filter: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """Return the customers and products of a filter, under the keys `customer` and `product`."""
    return {one: filter.get(several) or [filter[one]] for several, one in SEVERAL.items()}


def _counted(filter: Mapping[str, Any]) -> tuple[Sequence[str], Sequence[str], Sequence[str], int | None, int | None]:
    customers, products = _codes(filter).values()
    return customers, products, filter.get("types") or (), filter.get("start"), filter.get("end")


def _by_source(name: str) -> Report | None:
    match = SOURCE.fullmatch(name)
    return store.by_job(match[1]) if match else None


def _explain_missing(report: Report) -> str:
    if report.expires_at is not None and report.expires_at <= store.now():
        return "has expired and is removed"
    return "was deleted" if report.removed else "is gone from where it was kept, or another took its place"
