"""A person's data: everything that contains a value, such as a user's id, across customers.

Finding, handing over and erasing cover the same places: stored events, rejected events, refused requests, stored
responses to requests, report files, and saved views. Events in this host's spool are delivered first. The result
is complete as of the beginning; otherwise an error is raised.

An erasure removes the stored events last, because they lead to everything else. Therefore, after an interruption, the
next erasure finds what is left.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import orjson

from app.exceptions import FieldError, Forbidden, InputInvalid, RateLimited, SearchIncomplete, ViewUnknown
from app.schemas.reports import source
from app.services.catalog.lookup import Catalog
from app.services.events import answers, rejected_matches
from app.services.events.listing import to_event
from app.services.events.rejected import RejectedEvents, erase_from
from app.services.events.rejected_matches import ValueSearch
from app.services.events.spool import EventSpool
from app.services.operations.erasure_receipt import CountsByPair, Pair, Receipt, Removed, digest
from app.services.people import audit, saved_views
from app.services.people.audit import AuditRecord
from app.services.people.principal import Principal
from app.services.people.saved_views import View
from app.services.reports.output import selection
from app.services.reports.service import Reports
from app.store.database import release
from app.store.events import by_value, idempotency, pages, rejected
from app.store.events import erase as store
from app.store.events.filters import EventFilter
from app.store.models import Report
from app.support.clock import now

SPOOL_SECONDS = 5.0  # a web process releases its spool a second after its last event
MAX_AT_ONCE = 2  # searches with a time limit in a process, because each reads all events
RETRY_SECONDS = 5
ROWS_AT_ONCE = 1_000
REJECTED_AT_ONCE = 500
ANSWERS_AT_ONCE = 500
# A key is created after its events were received, when they are encoded.
BEFORE_MS, AFTER_MS = 1_000, 30_000
COMMAND = "Run this on the server: tally events erase --value - --yes --delete-files"
ERASED, STARTED = "personal data erased", "erasure of personal data started"

_slots = threading.BoundedSemaphore(MAX_AT_ONCE)


@dataclass
class PairEvents:
    """Stored events of one customer's product: their ids in order, and their first and last timestamp."""

    keys: array[int] = field(default_factory=lambda: array("q"))
    first: int = 0
    last: int = 0

    def add(self, key: int, timestamp: int) -> None:
        """Add an event."""
        self.first = min(self.first, timestamp) if self.keys else timestamp
        self.last = max(self.last, timestamp)
        self.keys.append(key)

    def filter(self, pair: Pair) -> EventFilter:
        """Return the period and codes of the events."""
        return EventFilter(*pair, start=self.first, end=self.last)


@dataclass
class PersonalDataMatches:
    """Everything that contains the value."""

    filter: EventFilter
    item: str | None
    sought: ValueSearch | None  # for rejected events, or None if the caller may not see any
    numbers: CountsByPair = field(default_factory=CountsByPair)  # what was found, by customer and product
    events: dict[Pair, PairEvents] = field(default_factory=lambda: defaultdict(PairEvents))  # the stored events
    received: set[int] = field(default_factory=set)  # when the events came that may be in a stored response
    sequences: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))  # of those events, by their batch
    rejected: list[int] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)  # with some of the events in their file, or being written
    views: list[View] = field(default_factory=list)  # of all users, that seek the value, if the caller may remove them
    spooled: int = 0

    @property
    def value(self) -> str:
        """Return the value that was searched for."""
        return self.filter.item or ""

    @property
    def is_empty(self) -> bool:
        """Return whether nothing has the value."""
        return not (self.numbers or self.views)

    @property
    def total(self) -> Removed:
        """Return the numbers of all customers."""
        return self.numbers.total()

    @property
    def details(self) -> dict[str, object]:
        """Return the details for the audit log."""
        total = self.total
        sought = {"value SHA-256": digest(self.value), "item": self.item or "any"}
        return {**sought, "events": total.events, "rejected": total.rejected, "refused": total.refused}

    @property
    def only_customer(self) -> str:
        """Return the customer if there is only one, otherwise an empty text."""
        customers = {customer for customer, _ in self.numbers}
        return customers.pop() if len(customers) == 1 else ""


class PersonalData:
    """Search, hand-over and erasure. `wanted` is the result of `PersonalDataSchema`."""

    def __init__(self, catalog: Catalog, reports: Reports, rejected: RejectedEvents, spool: EventSpool) -> None:
        self._catalog = catalog
        self._reports = reports
        self._rejected = rejected
        self._spool = spool

    def find(self, who: Principal, wanted: Mapping[str, Any], seconds: float | None = None) -> PersonalDataMatches:
        """Return everything of the customers that the caller may see; rejected events only with their permission.

        Args:
            seconds: time limit.

        Raises:
            Forbidden: the caller may not see the customer.
            InputInvalid: the catalog has no context item of that name.
            RateLimited: too many searches with a time limit run in this process.
            SearchIncomplete: the spool cannot be emptied, or the time limit has passed.
        """
        with _limit(seconds) as until:
            return self._find(self._query(who, wanted), who, by_value.settled, until)

    def hand_over(self, who: Principal, found: PersonalDataMatches) -> Iterator[bytes]:
        """Return what was found as JSON Lines, a few at a time. The connection is released before each is sent."""
        details = found.details | {"customers": sorted({customer for customer, _ in found.numbers})}
        audit.note(who, "personal data handed over", "personal data", details, customer=found.only_customer)
        return _encode_matches(found)

    def erase(
        self,
        who: Principal,
        wanted: Mapping[str, Any],
        *,
        delete_files: bool,
        seconds: float | None = None,
        max_events: int | None = None,
        progress: Callable[[int], object] = lambda number: None,
    ) -> tuple[Receipt, int]:
        """Erase everything that was accepted before this call, and return the receipt and the id of its audit entry.

        Args:
            delete_files: delete report files that contain some of the events, and restart reports that are running.
            seconds: time limit of the search. Without a result in time, nothing is removed.
            max_events: maximum number of stored events.
            progress: called with the number of stored events of each step.

        Raises:
            Forbidden, InputInvalid, RateLimited, SearchIncomplete: see `find`, or there are more than `max_events`;
                nothing was removed.
            StoreUnavailable, StorageFailed: the database or the storage failed. Call it again for the rest.
        """
        query, began_at = self._query(who, wanted), now()
        with _limit(seconds) as until:
            found = self._find(query, who, store.counted_cut, until)
        if max_events is not None and found.total.events > max_events:
            message = f"value is in {found.total.events:,} events; it may be in at most {max_events:,} here. {COMMAND}"
            raise InputInvalid("The data cannot be erased here.", [FieldError(message)])
        newest = store.newest_report()
        receipt = Receipt(found.value, found.item, found.filter.customers, who.name, began_at, found.spooled)
        receipt.removed, receipt.damaged_spools = found.numbers, self._spool.damaged()
        files = {"files deleted" if delete_files else "files kept": [source(one) for one in found.reports]}
        audit.note(who, STARTED, "personal data", found.details | files, customer=found.only_customer)
        waiting = self._remove_files(who, found.reports, receipt) if delete_files else []
        if not delete_files:
            for report in found.reports:
                (receipt.reports.in_buckets if _bucket_name(report) else receipt.reports.kept).append(source(report))
        for view in found.views:
            with suppress(ViewUnknown):  # its owner has removed it
                saved_views.remove(who, view)
        receipt.saved_views = [f"{view.page} {view.id} of {view.owner}" for view in found.views]
        receipt.stored_responses = _clear_answers(found)
        for begin in range(0, len(found.rejected), REJECTED_AT_ONCE):
            rejected.remove(found.rejected[begin : begin + REJECTED_AT_ONCE])
        for match in rejected_matches.requests(found.sought) if found.sought else ():
            erase_from(match.request, {*match.events})
        for (customer, product), some in sorted(found.events.items()):
            for number in store.erase_keys(customer, product, some.keys):
                progress(number)
        if delete_files:
            late = [one for pair, some in found.events.items() for one in store.reports(some.filter(pair))]
            waiting += self._remove_files(who, [one for one in late if one.id > newest], receipt)
        for report in waiting:
            names = receipt.reports.cancelled
            with suppress(Forbidden, RateLimited):  # its bucket is no longer allowed, or its user has too many
                self._reports.retry(who, report)
                names = receipt.reports.restarted
            names.append(source(report))
        receipt.ended_at = now()
        details = found.details | {"receipt": receipt.as_json()}
        return receipt, audit.note(who, ERASED, "personal data", details, customer=found.only_customer)

    def receipt(self, who: Principal, key: int) -> AuditRecord:
        """Return the audit entry with a receipt. Raise AuditUnknown if there is none, or the caller may not see it."""
        return audit.get(who, key, ERASED)

    def _query(self, who: Principal, wanted: Mapping[str, Any]) -> PersonalDataMatches:
        customer, item, value = wanted.get("customer"), wanted.get("item"), wanted["value"]
        if customer is not None and not who.sees(customer):
            raise Forbidden(f"You may not see data of the customer {customer}.")
        customers = who.customers if customer is None else (customer,)
        events = EventFilter(customers=customers, item=value)
        if item is not None:
            places = self._catalog.places(who, item, field="item")
            events = replace(events, types=sorted({place.type for place in places}), places=places)
        may_see_rejected = who.may("system")
        sought = ValueSearch(value, events.places, customers, who.customers is not None) if may_see_rejected else None
        return PersonalDataMatches(events, item, sought)

    def _find(
        self, found: PersonalDataMatches, who: Principal, cut: Callable[[], int], until: float | None = None
    ) -> PersonalDataMatches:
        found.spooled = self._empty_spool()
        self._rejected.flush()
        last, oldest = cut(), idempotency.oldest()
        for read, matches in by_value.matches(found.filter, last):
            for event in matches:
                pair = event.customer, event.product
                found.events[pair].add(event.id, event.timestamp)
                found.numbers[pair].events += 1
                if oldest is not None and event.received >= oldest - AFTER_MS:
                    found.received.add(event.received)
                    found.sequences[event.batch].add(event.sequence)
            _check_time(until, read, last)
        if found.sought:
            for one, codes in rejected_matches.events(found.sought):
                found.rejected.append(one.id)
                found.numbers[codes].rejected += 1
                _check_time(until, last, last)
            for match in rejected_matches.requests(found.sought):
                for codes in match.counted_codes():
                    found.numbers[codes].refused += 1
                _check_time(until, last, last)
        if who.sees_all_reports:
            for pair, some in found.events.items():
                overlapping = store.reports(some.filter(pair))
                found.reports += [one for one in overlapping if by_value.has_any(some.keys, selection(one))]
        if who.may("users"):
            found.views = saved_views.seeking(who, found.value, found.filter.customers, found.item)
        return found

    def _empty_spool(self) -> int:
        """Deliver the events of this host's spool, and return their number."""
        waiting, until = self._spool.waiting(), time.monotonic() + SPOOL_SECONDS
        while left := self._spool.waiting():
            self._spool.deliver()
            if (left := self._spool.waiting()) and time.monotonic() > until:
                raise SearchIncomplete(
                    f"Nothing was searched or removed, because {left:,} events are still in this host's spool, where "
                    "they cannot be searched. Try again once they are in the database; the page System shows it."
                )
            time.sleep(0.2 if left else 0)
        return waiting

    def _remove_files(self, who: Principal, reports: list[Report], receipt: Receipt) -> list[Report]:
        """Delete files, and return the cancelled reports that are to be restarted once the events are erased."""
        cancelled = []
        for report in reports:
            if self._reports.cancel(who, report):
                cancelled.append(report)
            elif _bucket_name(report):
                receipt.reports.in_buckets.append(source(report))
            else:
                self._reports.delete(who, report)
                receipt.reports.deleted.append(source(report))
        return cancelled


def _check_time(until: float | None, read: int, last: int) -> None:
    if until is not None and time.monotonic() > until:
        share = f"{100 * read // max(1, last)} %"
        raise SearchIncomplete(
            f"The search reached its time limit after {share} of the events. Nothing was removed. Use the commands on "
            "the server, which have no time limit: `tally events hand-over` and `tally events erase`, with --value."
        )


def _bucket_name(report: Report) -> str | None:
    bucket: str | None = (report.output or {}).get("bucketName")
    return bucket


@contextmanager
def _limit(seconds: float | None) -> Iterator[float | None]:
    """Return when a search with a time limit must end, and let few of them run at once. None means no limit."""
    if seconds is None:
        yield None
        return
    if not _slots.acquire(blocking=False):
        raise RateLimited(f"{MAX_AT_ONCE} searches of all events are already running. Try again.", RETRY_SECONDS)
    try:
        yield time.monotonic() + seconds
    finally:
        _slots.release()


def _clear_answers(found: PersonalDataMatches) -> int:
    """Remove the content of the events from stored responses, and return the number of changed responses."""
    number, covered = 0, -1
    for received in sorted(found.received):
        first, last = max(received - BEFORE_MS, covered + 1), received + AFTER_MS
        after = (first, "")
        while page := idempotency.created_between(first, last, after, ANSWERS_AT_ONCE):
            after = page[-1][:2]
            cleared = {key: answers.without(answer, found.sequences) for _, key, answer in page}
            replaced = {key: answer for key, answer in cleared.items() if answer is not None}
            if replaced:
                idempotency.replace_answers(replaced)
            number += len(replaced)
        covered = last
    return number


def _encode_matches(found: PersonalDataMatches) -> Iterator[bytes]:
    for pair in sorted(found.events):
        keys = found.events[pair].keys
        for begin in range(0, len(keys), ROWS_AT_ONCE):
            events = map(to_event, pages.rows(keys[begin : begin + ROWS_AT_ONCE]))
            release()
            yield b"".join(_encode_line("stored", msgspec.to_builtins(event)) for event in events)
    if found.sought is None:
        return
    for one, _ in rejected_matches.events(found.sought):
        yield _encode_line(
            "rejected", {"received": one.received_at, "reasons": one.reasons, "event": _parse(one.event)}
        )
    for match in rejected_matches.requests(found.sought):
        for place in sorted(match.counted):
            event = _parse(match.events[place][0])
            yield _encode_line("refused", {"received": match.request.received_at, "event": event})
    release()


def _encode_line(state: str, values: dict[str, object]) -> bytes:
    return orjson.dumps({"state": state} | values, option=orjson.OPT_APPEND_NEWLINE)


def _parse(text: str) -> object:
    """Return an event as parsed JSON, or as its text if it is not JSON."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
