"""Groups of similar rejected events, so that people can review, fix and resend many events together."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.exceptions import RejectedUnknown
from app.services.events.resend import Change, Resend
from app.services.people import audit
from app.services.people.principal import Principal
from app.store.events import rejected, rejected_groups
from app.store.events.rejected_groups import Key
from app.store.models import RejectedEvent
from app.support.clock import DAY_MS, HOUR_MS, now

STEPS = {"hour": (HOUR_MS, 24), "day": (DAY_MS, 30)}  # length and number of the chart's bars
MAX_GROUPS = 100  # listed
AT_ONCE = 200  # events that are read, sent and removed together
BUDGET_SECONDS = 10.0  # time limit of a request that resends a group
PURGED_AT_ONCE = 1_000


@dataclass(frozen=True)
class Group:
    """Group of rejected events with the same cause."""

    key: Key
    number: int  # number of events
    customers: int  # number of customers that the events seem to belong to
    last_at: int  # time of the last event
    newest: int = 0  # id of the last event; set only if a single group was requested
    trend: Sequence[int] = ()  # number of events in each hour or day, oldest first

    @property
    def reason(self) -> str:
        """Return the cause in words."""
        if not self.key.field:
            return "Not an event"
        fault = {"missing": "is missing", "unknown": "is not known"}.get(self.key.fault, "is wrong")
        return f"{self.key.field} {fault}"


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

    def every(self, who: Principal, step: str) -> list[Group]:
        """Return the groups with most events, each with its trend by `hour` or `day`."""
        length, bars = STEPS[step]
        moment = now()
        first = moment - moment % length - (bars - 1) * length
        trends: dict[Key, list[int]] = defaultdict(lambda: [0] * bars)
        groups = [Group(*row) for row in rejected_groups.every(who.customers, MAX_GROUPS)]
        for key, begin, number in rejected_groups.trend(who.customers, first, length):
            place = (begin - first) // length
            if place < bars:  # the next hour may have begun meanwhile
                trends[key][place] = number
        return [replace(group, trend=trends[group.key]) for group in groups]

    def get(self, who: Principal, key: Key) -> Group:
        """Return a group. Raise RejectedUnknown if the caller may see none of its events."""
        found = rejected_groups.one(key, who.customers)
        if found is None:
            raise RejectedUnknown("There is no such rejected event any more: they were sent again, or removed.")
        return Group(key, *found)

    def events(self, who: Principal, key: Key, limit: int, before: int | None = None) -> list[RejectedEvent]:
        """Return a group's newest events, or with `before`, an event id, the next page."""
        return rejected_groups.events(key, who.customers, limit, before=before)

    def send(self, who: Principal, key: Key, up_to: int, change: Change) -> Sent:
        """Resend as many of a group's events as possible within BUDGET_SECONDS, and remove those that are accepted.

        Events after the id `up_to` have not been reviewed, and stay. If StoreUnavailable is raised, the events sent so
        far are stored only once, even if they are sent again.
        """
        stored = refused = last = 0
        reasons: Sequence[str] = ()
        tried: set[str] = set()
        deadline = time.monotonic() + BUDGET_SECONDS
        while page := rejected_groups.oldest(key, who.customers, AT_ONCE, after=last, up_to=up_to):
            last = page[-1].id
            outcomes = self._resend.send_some(who, page, change, tried)
            stored += sum(outcome.events for outcome in outcomes if not outcome.reasons)
            refused += sum(outcome.events for outcome in outcomes if outcome.reasons)
            reasons = reasons or next((outcome.reasons for outcome in outcomes if outcome.reasons), ())
            if time.monotonic() > deadline:
                break
        left = rejected_groups.number(key, who.customers, after=last, up_to=up_to)
        details = {"stored": stored, "refused": refused, "changed": change.description}
        audit.note(who, "rejected event sent again", _title(key), details)
        return Sent(stored, refused, reasons, left)

    def purge(self, who: Principal, key: Key, up_to: int) -> int:
        """Remove a group's events up to an id, and return their number."""
        number = rejected_groups.number(key, who.customers, after=0, up_to=up_to)
        audit.note(who, "rejected events purged", _title(key), {"number": number})  # many transactions follow
        number = 0
        while some := rejected_groups.ids(key, who.customers, PURGED_AT_ONCE, up_to=up_to):
            number += rejected.remove(some)
        return number


def _title(key: Key) -> str:
    codes = " of ".join(code for code in (key.type, key.product) if code)
    return f"{key.field or 'event'} {key.fault}".strip() + (f", {codes}" if codes else "")
