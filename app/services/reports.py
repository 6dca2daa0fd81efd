"""Reports: accepted by a committed row, run by whoever claims it, downloaded by signed link.

The row is the truth. Redis only wakes a worker; `sweep` wakes one for whatever was missed.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from app.config import Settings
from app.exceptions import Forbidden, ReportExpired, ReportFailed, ReportRunning, ReportUnknown
from app.queue import ReportQueue
from app.schemas.reports import day, source
from app.services.accounts import Principal
from app.services.attempt import run_attempt
from app.services.catalog import Catalog
from app.services.clock import now
from app.storage.links import Links
from app.storage.local import LocalStorage
from app.store import events
from app.store import reports as store
from app.store.database import transaction
from app.store.models import Report

SOURCE = re.compile(r"JOB-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
DAY_MS = 86_400_000
SILENT_MS = 30_000  # an attempt that says nothing for so long is given up
ATTEMPTS = 5  # a report whose worker dies so often is not tried again

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Page:
    """Some reports, and the cursor of the next page if there is one."""

    reports: list[Report]
    next: str | None


class Reports:
    """The reports of one process."""

    def __init__(self, settings: Settings, catalog: Catalog, storage: LocalStorage, queue: ReportQueue) -> None:
        self._settings = settings
        self._catalog = catalog
        self._storage = storage
        self._queue = queue
        self._links = Links(settings.base_url, settings.secret())

    def start(self, who: Principal, filter: Mapping, output: Mapping | None) -> Report:
        """Accept a report: its row is committed, then a worker is woken.

        Args:
            filter, output: as `ReportRequestSchema` gives them; output None: not sent.

        Raises:
            Forbidden: the customer is not the caller's, or the bucket not allowed.
            InputInvalid: the customer or product is not known, or the product has no columns.
        """
        if not who.sees(filter["customer"]):
            raise Forbidden(f"You may not see data of the customer {filter['customer']}.")
        wanted = output or {}
        if "bucketName" in wanted or "bucketKey" in wanted:
            raise Forbidden("output.bucketName: the operator of this service allows no buckets.")
        self._catalog.check_known(who, filter["customer"], filter["product"])
        layout = self._catalog.layout(filter["product"], wanted.get("layout"))
        with transaction():
            cut = events.acceptance_cut()
            report = store.add(
                job=str(uuid.uuid4()),
                account=who.id,
                account_name=who.name,
                layout=layout.to_json(),
                output=output,
                cut=cut,
                started=now(),
                **{key: filter.get(key) for key in ("customer", "product", "types", "start", "end")},
            )
        self._queue.enqueue(report.job)
        return report

    def get(self, who: Principal, name: str) -> Report:
        """A report by its source.

        Raises:
            ReportUnknown: there is none, or it is not the caller's.
        """
        match = SOURCE.fullmatch(name)
        report = store.by_job(match[1]) if match else None
        if report is None or not self._is_theirs(who, report):
            raise ReportUnknown(f"There is no report {name[:60]}, or it is not yours.")
        return report

    def page(self, who: Principal, *, status: str | None, limit: int, after: int | None) -> Page:
        """The reports that the caller started, newest first."""
        found = store.newest(limit + 1, account=who.id, customers=who.customers, status=status, before=after)
        more = str(found[limit - 1].id) if len(found) > limit else None
        return Page(found[:limit], more)

    def visible(self, who: Principal, limit: int) -> list[Report]:
        """The newest reports that the caller may see, others' too where the role allows."""
        account = None if who.sees_all_reports else who.id
        return store.newest(limit, account=account, customers=who.customers)

    def link(self, report: Report) -> str:
        """A new link to a report's file, which works for 15 minutes.

        Raises:
            ReportRunning, ReportFailed, ReportExpired: there is no file (yet, ever, any more).
        """
        self._check_file(report)
        return self._links.make(source(report), now())

    def path(self, report: Report) -> Path:
        """Where a report's file stands on this machine.

        Raises:
            ReportRunning, ReportFailed, ReportExpired: there is no file (yet, ever, any more).
        """
        self._check_file(report)
        return self._storage.path(report.file)

    def file(self, name: str, expires: str, nonce: str, signature: str) -> tuple[Report, Path]:
        """The file that a link leads to.

        Raises:
            LinkInvalid: the link was changed, or has expired.
            ReportExpired: the file was removed.
        """
        self._links.check(name, expires, nonce, signature, now())
        match = SOURCE.fullmatch(name)
        report = store.by_job(match[1]) if match else None
        path = self._storage.path(report.file) if report and report.file and not report.removed else None
        if path is None:
            raise ReportExpired("The report's file was removed. Start the report again.")
        return report, path

    def place_in_queue(self, report: Report) -> int | None:
        """1 for the report that the next free worker takes; None where it does not wait."""
        waits = report.status == store.RUNNING and report.token is None
        return store.place_in_queue(report) if waits else None

    def run(self, job: str) -> None:
        """Write a report's file, if no other worker is at it; for workers."""
        run_attempt(job, self._storage, self._settings.report_timeout_seconds, self._settings.report_keep_days * DAY_MS)

    def sweep(self) -> None:
        """Set right what nobody else will: silent attempts, reports queued nowhere, files past their time.

        Safe when several run it at once: each step is a conditional UPDATE, or harmless when done twice.

        Raises:
            QueueUnavailable: Redis is away, and reports wait; everything else is done.
        """
        moment = now()
        self._end_overdue(moment)
        for job in store.release_silent(moment - SILENT_MS):
            log.warning("report released, its worker is silent", report=job)
        for report in store.expired(moment):
            self._storage.delete(report.file)
            store.mark_removed(report.job)
        waiting = store.waiting()
        self._give_up([report for report in waiting if report.attempt >= ATTEMPTS], moment)
        for job in self._queue.missing([report.job for report in waiting if report.attempt < ATTEMPTS]):
            self._queue.enqueue(job)

    def _end_overdue(self, moment: int) -> None:
        limit = self._settings.report_timeout_seconds * 1000 + SILENT_MS
        for job in store.time_out(moment - limit, moment, self._settings.report_timeout_seconds):
            log.error("report timed out", report=job)

    def _give_up(self, given_up: list[Report], moment: int) -> None:
        reason = f"Its worker died {ATTEMPTS} times. The workers' log says why."
        for report in given_up:
            if store.fail_waiting(report.job, reason, moment):
                log.error("report failed", report=report.job, reason=reason)

    def _is_theirs(self, who: Principal, report: Report) -> bool:
        return who.sees(report.customer) and (report.account == who.id or who.sees_all_reports)

    def _check_file(self, report: Report) -> None:
        if report.status == store.RUNNING:
            raise ReportRunning("The report still runs, so there is no file yet. Ask for its availability again soon.")
        if report.status != store.COMPLETE:
            raise ReportFailed(f"The report has no file. {report.reason or ''}".strip())
        if report.removed or self._storage.path(report.file) is None:
            raise ReportExpired("The report's file was kept as long as promised, and is removed. Start it again.")


def file_name(report: Report) -> str:
    """What a report's file is called when it is downloaded: its product and the days it covers."""
    days = [day(time) for time in (report.start, report.end) if time is not None]
    return "_".join([re.sub(r"[^A-Za-z0-9.-]+", "-", report.product), *days]) + ".csv"
