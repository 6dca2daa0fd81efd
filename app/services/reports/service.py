"""Reports: accepted by a committed row, run by the worker that claims it, downloaded by signed link.

The row is authoritative. Redis only wakes a worker, and `cleanup` queues any report whose wake-up was missed.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import structlog

from app.config import Settings
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
from app.exports import names, parquet
from app.exports.layout import Layout
from app.redis.queue import ReportQueue
from app.schemas.reports import day, source
from app.services.catalog.lookup import Catalog
from app.services.people import audit
from app.services.people.accounts import Principal
from app.services.people.audit import nobody
from app.services.reports import fair_queue
from app.services.reports.cleanup import Cleanup
from app.services.reports.destinations import Destinations
from app.services.reports.formats import JSONL, PARQUET, Output, columns
from app.storage.links import Links
from app.store.database import transaction
from app.store.events import hourly_counts, select
from app.store.models import Report, ReportAttempt
from app.store.reports import attempts
from app.store.reports import reports as store
from app.support.clock import now

SOURCE = re.compile(r"JOB-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
NO_PARQUET = (
    'output.format is "parquet"; it must be "csv" or "jsonl", as pyarrow is not installed here (the extra "parquet").'
)

ROOM_SECONDS = 60  # Retry-After for a user with too many waiting reports
REMOVED = "The report's file was removed, or another took its place. Start the report again."
COUNTED_AT_ONCE = 200_000  # the most events that a preview reads
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
        is_whole: whether the file includes the whole context of each event.
        losing: number of rows that would lose items, if it can be counted quickly.
    """

    columns: list[str]
    is_whole: bool
    losing: int | None


@dataclass(frozen=True)
class Download:
    """Report file for the holder of a download link, either a local file or a link to another storage.

    Attributes:
        name: the file name for the download.
        link: the URL of the file, valid for LINK_SECONDS, or None if the file has a local path.
    """

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
        self._settings = settings
        self._catalog = catalog
        self._destinations = destinations
        self._queue = queue
        self._cleanup = cleanup
        self._waiting_max = settings.reports_waiting_max

    @cached_property
    def _links(self) -> Links:
        return Links(self._settings.base_url, self._settings.secret())

    def start(
        self,
        who: Principal,
        filter: Mapping,
        output: Mapping | None,
        *,
        after: int | None = None,
        origin: int | None = None,
    ) -> Report:
        """Accept a report: commit its row, then wake a worker.

        Args:
            filter, output: the result of `ReportRequestSchema`. An output of None means that none was sent.
            after: the id of the last event of an earlier report. This report has only events after it.
            origin: the recurring report that starts this report.

        Raises:
            Forbidden: the caller may not see the customer, or the bucket is not allowed.
            InputInvalid: the customer, product or a type is not known, the product has no columns, or the format cannot
                be written here.
            RateLimited: too many of the caller's reports wait; see `check_room`.
        """
        if origin is None:
            self.check_room(who.id)
        layout = self._checked(who, filter, output)
        asked = {key: filter.get(key) for key in ("customer", "product", "types", "start", "end")}
        with transaction():
            cut = select.acceptance_cut()
            report = store.add(
                job=str(uuid.uuid4()),
                account=who.id,
                account_name=who.name,
                schedule=origin,
                layout=layout.to_json(),
                output=output,
                snapshot_min_id=after,
                snapshot_max_id=cut,
                estimated_rows=self._expected(asked, cut - (after or 0)),
                started=store.now(),
                **asked,
            )
            self._note(who, "report started", report)
        self._queue.enqueue(report.job)
        return report

    def check_room(self, account: int | None) -> None:
        """Reject another report of a user who has the maximum number of waiting or running reports.

        Args:
            account: the user's id. Commands on the server have no user and no limit.

        Raises:
            RateLimited: the user has too many waiting or running reports. The message contains the limit.
        """
        if account and store.number(store.RUNNING, account, None) >= self._waiting_max:
            raise RateLimited(
                f"Not started: {self._waiting_max:,} of the user's reports wait or run already, the most that may at "
                "once (REPORTS_WAITING_MAX). Wait until some have ended, or cancel some.",
                ROOM_SECONDS,
            )

    def preview(self, who: Principal, filter: Mapping, output: Mapping | None) -> Preview:
        """Return a preview of the file of a report that would start now.

        Raises:
            Forbidden, InputInvalid: see `start`.
        """
        layout, wanted = self._checked(who, filter, output), Output.of(output)
        names = filter["customer"], filter["product"], filter.get("types") or ()
        asked = (*names, filter.get("start"), filter.get("end"))
        is_whole, losing = wanted.laid_out(layout).keeps_extras, None
        if not is_whole and hourly_counts.estimate(*asked) <= COUNTED_AT_ONCE:
            losing = select.measure(select.Selection(*asked), layout).extra_rows
        return Preview(columns(layout, wanted, None), is_whole, losing)

    def columns(self, report: Report) -> list[str]:
        """Return the column names of a report's file."""
        return columns(Layout.from_json(report.layout), Output.of(report.output), report.width)

    def get(self, who: Principal, name: str) -> Report:
        """Return a report by its source.

        Raises:
            ReportUnknown: the report does not exist, or the caller may not see it.
        """
        report = self._named(name)
        if report is None or not self._is_theirs(who, report):
            raise ReportUnknown(f"There is no report {name[:60]}, or it is not yours.")
        return report

    def page(self, who: Principal, *, status: str | None, limit: int, after: int | None) -> Page:
        """Return a page of the reports that the caller started, newest first."""
        found = store.newest(limit + 1, account=who.id, customers=who.customers, status=status, before=after)
        more = str(found[limit - 1].id) if len(found) > limit else None
        return Page(found[:limit], more)

    def visible(
        self, who: Principal, limit: int, *, status: str | None = None, state: str | None = None
    ) -> list[Report]:
        """Return the newest reports that the caller may see, including other users' reports if the role allows it.

        Args:
            state: a value of `store.reports.STATES`, the states that the dashboard distinguishes.
        """
        account = None if who.sees_all_reports else who.id
        return store.newest(limit, account=account, customers=who.customers, status=status, state=state)

    def at_work(self, who: Principal) -> int:
        """Return how many of the reports that the caller may see are waiting or running."""
        return store.number(store.RUNNING, None if who.sees_all_reports else who.id, who.customers)

    def attempts(self, report: Report) -> list[ReportAttempt]:
        """Return the attempts at a report, oldest first."""
        return attempts.of(report.job)

    def place_in_queue(self, report: Report) -> int | None:
        """Return a report's position in the queue, starting at 1, or None if it is not waiting."""
        if report.status != store.RUNNING or report.token is not None:
            return None
        waiting = [one.id for one in fair_queue.queue()]
        return waiting.index(report.id) + 1 if report.id in waiting else None

    def cancel(self, who: Principal, report: Report) -> bool:
        """Cancel a waiting or running report. Its worker stops within two seconds.

        Return False if the report has already ended.
        """
        reason = f"Cancelled by {who.name}."
        with transaction():
            if not store.end(report.job, store.FAILED, reason, store.now(), cancelled=True):
                return False
            self._note(who, "report cancelled", report)
            attempts.end_all(report.job, attempts.CANCELLED, store.now(), reason)
        log.info("report cancelled", report=report.job, by=who.name)
        self._cleanup.remove_expired(report.job)
        return True

    def delete(self, who: Principal, report: Report) -> None:
        """Cancel a waiting or running report. Otherwise remove its file, if any; the row stays and is marked."""
        if self.cancel(who, report):
            return
        report = store.by_job(report.job)  # it may have ended a moment ago
        if report.file and not report.removed:
            self._note(who, "report deleted", report)
            self._cleanup.remove_file(report)

    def retry(self, who: Principal, report: Report) -> Report:
        """Retry a report that has no file, with its original snapshot.

        Raises:
            ReportRunning: the report is waiting or running.
            ReportEnded: it is complete.
            Forbidden: its bucket is no longer allowed.
            RateLimited: too many reports of its user wait.
        """
        self.check_room(report.account)
        with transaction():
            if not store.run_again(report.job):
                if store.by_job(report.job).status == store.RUNNING:
                    raise ReportRunning("The report runs, so there is nothing to try again.")
                raise ReportEnded("The report is complete, so there is nothing to try again. Start a new one.")
            self._destinations.check(report.output or {})
            self._note(who, "report retried", report)
        self._queue.enqueue(report.job)
        return store.by_job(report.job)

    def link(self, report: Report, *, by: Principal | None = None) -> str:
        """Return a new link to a report's file, valid for 15 minutes.

        Args:
            by: the user who requests the link, or None if it is sent to a program that waits for the report.

        Raises:
            ReportRunning, ReportFailed, ReportExpired: there is no file (yet, ever, any more).
        """
        self._check_file(report)
        if by is not None:
            self._note(by, "report link given", report)
        return self._links.make(source(report), now())

    def path(self, report: Report) -> Path | None:
        """Return the local path of a report's file, or None if it is stored elsewhere.

        Raises:
            ReportRunning, ReportFailed, ReportExpired: there is no file (yet, ever, any more).
        """
        self._check_file(report)
        return self._destinations.place(report).path(report.file)

    def open(self, report: Report) -> BinaryIO:
        """Return a report's file as a stream, from any storage.

        Raises:
            ReportRunning, ReportFailed, ReportExpired: there is no file (yet, ever, any more).
        """
        self._check_file(report)
        return self._destinations.place(report).open(report.file, etag=report.etag)

    def file(self, name: str, expires: str, nonce: str, signature: str) -> Download:
        """Return the file that a link refers to.

        Raises:
            LinkInvalid: the link was modified, or has expired.
            ReportExpired: the file was removed.
            StorageFailed: the storage is unavailable.
        """
        self._links.check(name, expires, nonce, signature, now())
        report = self._named(name)
        if report is None or not report.file or report.removed or not self._destinations.has(report):
            raise ReportExpired(REMOVED)
        place = self._destinations.place(report)
        given = file_name(report), names.media_type(report.output)
        link, path = place.link(report.file, *given, LINK_SECONDS, report.etag), place.path(report.file)
        if link is None and path is None:  # it was removed just now
            raise ReportExpired(REMOVED)
        return Download(report, *given, path, link)

    def note_download(self, report: Report, who: Principal | None, address: str) -> None:
        """Record a download of the file.

        Args:
            who: the signed-in user, or None for the holder of a link.
            address: the client's address.
        """
        self._note(who or nobody(address), "report downloaded", report)

    def clean_up(self) -> None:
        """See `Cleanup.clean_up`."""
        self._cleanup.clean_up()

    def wake(self) -> None:
        """See `Cleanup.wake`."""
        self._cleanup.wake()

    def _note(self, who: Principal, action: str, report: Report) -> None:
        audit.note(who, action, f"report {source(report)}", {"product": report.product}, customer=report.customer)

    def _named(self, name: str) -> Report | None:
        match = SOURCE.fullmatch(name)
        return store.by_job(match[1]) if match else None

    def _checked(self, who: Principal, filter: Mapping, output: Mapping | None) -> Layout:
        """Return the layout of a requested report after checking that the caller may start it."""
        if not who.sees(filter["customer"]):
            raise Forbidden(f"You may not see data of the customer {filter['customer']}.")
        wanted = output or {}
        self._destinations.check(wanted)
        self._catalog.check_known(who, filter["customer"], filter["product"], filter.get("types"))
        return self._layout(filter["product"], wanted)

    def _layout(self, product: str, wanted: Mapping) -> Layout:
        """Return the columns of the file. JSON Lines have no columns, so a requested layout is ignored."""
        if wanted.get("format") == PARQUET and not parquet.is_installed():
            raise InputInvalid("The report's output cannot be made.", [FieldError(NO_PARQUET)])
        return self._catalog.layout(product, None if wanted.get("format") == JSONL else wanted.get("layout"))

    def _expected(self, filter: Mapping, most: int) -> int:
        names = (filter["customer"], filter["product"], filter["types"] or ())
        return max(0, min(most, hourly_counts.estimate(*names, filter["start"], filter["end"])))

    def _is_theirs(self, who: Principal, report: Report) -> bool:
        return who.sees(report.customer) and (report.account == who.id or who.sees_all_reports)

    def _check_file(self, report: Report) -> None:
        if report.status == store.RUNNING:
            raise ReportRunning("The report still runs, so there is no file yet. Ask for its availability again soon.")
        if report.status != store.COMPLETE:
            raise ReportFailed(f"The report has no file. {report.reason or ''}".strip())
        if report.removed or not self._destinations.has(report):
            raise ReportExpired(f"The report's file {_went(report)}. Start a new report.")


def _went(report: Report) -> str:
    if report.expires <= store.now():
        return "was kept as long as promised, and is removed"
    return "was deleted" if report.removed else "is gone from where it was kept, or another took its place"


def file_name(report: Report) -> str:
    """Return the download name of a report's file."""
    days = [day(time) for time in (report.start, report.end) if time is not None]
    return names.file_name(report.product, days, report.output)
