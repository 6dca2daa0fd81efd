"""Groups of similar rejected events, so that people can review, fix and resend many events together."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from app.exceptions import RejectedUnknown
from app.services.events import timestamps
from app.services.events.rejected_query import describe_reason
from app.services.events.resend import Change, Resend
from app.services.events.timestamps import TimestampPreview
from app.services.people import audit
from app.services.people.principal import Principal
from app.store.events import rejected, rejected_groups
from app.store.events.rejected_filter import ALL, RejectedFilter
from app.store.events.rejected_groups import Key
from app.store.models import RejectedEvent
from app.support.clock import DAY_MS, HOUR_MS, now

STEPS = {"hour": (HOUR_MS, 24), "day": (DAY_MS, 30)}  # length and number of the chart's bars
MAX_GROUPS = 100  # listed
AT_ONCE = 200  # events that are read, sent and removed together
BUDGET_SECONDS = 10.0  # time limit of a request that resends a group
PURGED_AT_ONCE = 1_000
PREVIEWED = 20_000  # events of a group whose timestamps are parsed for the preview
PREVIEWED_BYTES = 50_000_000  # after which no further ones are read


@dataclass(frozen=True)
class Group:
    """Group of rejected events with the same cause."""

    key: Key
    number: int  # number of events
    customers: int  # number of customers that the events seem to belong to
    last_at: int  # time of the last event
    first_at: int = 0  # time of the first event; only set for a single group, like `newest`
    newest: int = 0  # id of the last event
    trend: Sequence[int] = ()  # number of events in each hour or day, oldest first

    @property
    def reason(self) -> str:
        """Return the cause in words."""
        return describe_reason(self.key.field, self.key.fault)


@dataclass(frozen=True)
class Sent:
    """Result of sending a group again."""

    stored: int  # number of events that were accepted, including the valid events of their requests
    refused: int  # number of events that were rejected again and remain
    reasons: Sequence[str]  # reasons of the first of these
    left: int  # number of events that were not tried, because the time limit was reached


class RejectedGroups:
    """Groups of the rejected events that the caller may see."""

    def __init__(self, resend: Resend) -> None:
        self._resend = resend

    def every(self, who: Principal, step: str, wanted: RejectedFilter = ALL) -> list[Group]:
        """Return the groups with most events that match, each with its trend by `hour` or `day`."""
        seen = wanted.visible_to(who.customers).within_reach()
        length, bars = STEPS[step]
        moment = now()
        first = moment - moment % length - (bars - 1) * length
        trends: dict[Key, list[int]] = defaultdict(lambda: [0] * bars)
        groups = [Group(*row) for row in rejected_groups.every(seen, MAX_GROUPS)]
        for key, begin, number in rejected_groups.trend(seen, first, length):
            place = (begin - first) // length
            if place < bars:  # the next hour may have begun meanwhile
                trends[key][place] = number
        return [replace(group, trend=trends[group.key]) for group in groups]

    def get(self, who: Principal, key: Key, wanted: RejectedFilter = ALL) -> Group:
        """Return a group, of the events that match. Raise RejectedUnknown if the caller may see none of them."""
        found = rejected_groups.totals(_within(who, key, wanted))
        if found is None:
            raise RejectedUnknown("There is no such rejected event any more: they were sent again, or removed.")
        return Group(key, found.number, found.customers, found.last_at, found.first_at, found.newest)

    def customers(self, who: Principal, key: Key, limit: int, wanted: RejectedFilter = ALL) -> list[tuple[str, int]]:
        """Return the customers with the most events of a group: (code, number). An unknown customer's code is empty."""
        return rejected_groups.customers(_within(who, key, wanted), limit)

    def has_requests(self, who: Principal, key: Key, wanted: RejectedFilter = ALL) -> bool:
        """Return whether some of a group's events arrived in refused requests, which are sent whole."""
        return rejected_groups.has_requests(_within(who, key, wanted))

    def events(
        self, who: Principal, key: Key, limit: int, before: int | None = None, wanted: RejectedFilter = ALL
    ) -> list[RejectedEvent]:
        """Return a group's newest events, or with `before`, an event id, the next page."""
        return rejected.newest(limit, before=before, wanted=_within(who, key, wanted))

    def preview_timestamps(self, who: Principal, key: Key, wanted: RejectedFilter = ALL) -> TimestampPreview:
        """Return what parsing timestamps in ISO 8601 would change in a group's newest events.

        These are PREVIEWED events, or fewer if they are long.
        """
        return timestamps.preview(self._newest(who, key, wanted))

    def _newest(self, who: Principal, key: Key, wanted: RejectedFilter) -> Iterator[RejectedEvent]:
        """Yield events and hold few at once, because each may have a million characters."""
        left, left_bytes, before = PREVIEWED, PREVIEWED_BYTES, None
        wanted = _within(who, key, wanted)
        while left > 0 and left_bytes > 0:
            page = rejected.newest(min(AT_ONCE, left), before=before, wanted=wanted)
            if not page:
                break
            yield from page
            before = page[-1].id
            left -= len(page)
            left_bytes -= sum(one.bytes for one in page)

    def send(self, who: Principal, key: Key, up_to: int, change: Change, wanted: RejectedFilter = ALL) -> Sent:
        """Resend as many of a group's events as possible within BUDGET_SECONDS, and remove those that are accepted.

        Events after the id `up_to` have not been reviewed, and stay. If StoreUnavailable is raised, the events sent so
        far are stored only once, even if they are sent again.
        """
        chosen = _within(who, key, wanted, up_to)
        stored = refused = last = 0
        reasons: Sequence[str] = ()
        tried: set[str] = set()
        deadline = time.monotonic() + BUDGET_SECONDS
        while page := rejected.oldest(AT_ONCE, after=last, up_to=up_to, wanted=chosen):
            last = page[-1].id
            outcomes = self._resend.send_some(who, page, change, tried)
            stored += sum(outcome.events for outcome in outcomes if not outcome.reasons)
            refused += sum(outcome.events for outcome in outcomes if outcome.reasons)
            reasons = reasons or next((outcome.reasons for outcome in outcomes if outcome.reasons), ())
            if time.monotonic() > deadline:
                break
        left = rejected_groups.number(chosen, after=last, up_to=up_to)
        details = {"stored": stored, "refused": refused, "changed": change.description}
        audit.note(who, "rejected event sent again", _title(key), details)
        return Sent(stored, refused, reasons, left)

    def purge(self, who: Principal, key: Key, up_to: int, wanted: RejectedFilter = ALL) -> int:
        """Remove a group's events up to an id, and return their number."""
        chosen = _within(who, key, wanted, up_to)
        number = rejected_groups.number(chosen, after=0, up_to=up_to)
        audit.note(who, "rejected events purged", _title(key), {"number": number})  # many transactions follow
        number = 0
        while some := rejected_groups.ids(chosen, PURGED_AT_ONCE, up_to=up_to):
            number += rejected.remove(some)
        return number


def _within(who: Principal, key: Key, wanted: RejectedFilter, up_to: int | None = None) -> RejectedFilter:
    """Return the filter of a group's events that match and that the caller may see."""
    found = key.within(wanted).visible_to(who.customers)
    return found.within_reach(None if up_to is None else up_to + 1)


def _title(key: Key) -> str:
    codes = " of ".join(code for code in (key.type, key.product) if code)
    return f"{key.field or 'event'} {key.fault}".strip() + (f", {codes}" if codes else "")
