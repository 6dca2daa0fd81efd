"""Questions about events that a number answers: exact counts by code, hour or day, and context value."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.exceptions import FieldError, Forbidden, InputInvalid, Overloaded
from app.services.catalog.lookup import NAME_IT, Catalog
from app.services.people.principal import Principal
from app.store.database import read
from app.store.events import counts as store
from app.store.events.counts import CODES, Grouping, Numbers, Row
from app.store.events.filters import EventFilter
from app.store.models import EventType
from app.support.clock import DAY_MS, HOUR_MS

STEPS = {"hour": HOUR_MS, "day": DAY_MS}
CONTEXT = "context"
BY = (*CODES, *STEPS, CONTEXT)
MAX_GROUPS = 1_000
MAX_ROWS = 100_000
MAX_TYPES = 10_000  # of the catalog whose names are known
NAMED = 3  # maximum number of near names in an error
MAX_READ = 1_000_000  # events that a question may read, about a second

__all__ = ["BY", "CODES", "CONTEXT", "MAX_GROUPS", "STEPS", "Counts", "Counting", "Row"]


@dataclass(frozen=True)
class Counts:
    """Answer to a question."""

    keys: list[str]  # the columns of a group, without the time: codes, and `value` of the context item
    step: int | None  # the length of a step of time in milliseconds, or None
    rows: list[Row]  # by time, then the largest group first
    total: int  # the number of events of all groups
    rest_groups: int  # how many smaller groups the rows do not have
    rest: int  # the number of events of those

    def flat(self) -> list[dict[str, object]]:
        """Return the rows as objects with `time`, the keys and `count`."""
        return [
            {**({} if time is None else {"time": time}), **dict(zip(self.keys, values, strict=True)), "count": number}
            for time, values, number in self.rows
        ]


class Counting:
    """Counts of the events that the caller may see."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def ask(
        self, who: Principal, wanted: EventFilter, by: Sequence[str], context: str | None, limit: int = MAX_GROUPS
    ) -> Counts:
        """Count the matching events.

        Args:
            by: what they are grouped by, of BY; hour or day, not both.
            context: the name of a context item in the catalog, required if `by` has CONTEXT.
            limit: maximum number of groups, the largest ones.

        Raises:
            Forbidden: the caller may not see the customer.
            InputInvalid: the question is wrong, or too many events would have to be read.
            Overloaded: too many events have not been counted yet.
        """
        if wanted.customer is not None and not who.sees(wanted.customer):
            raise Forbidden(f"You may not see data of the customer {wanted.customer}.")
        self._catalog.check_known(who, wanted.customer, wanted.product, wanted.types or None, place="")
        items = self._check(who, wanted, by, context)
        wanted = replace(wanted, customers=who.customers)
        if items is not None:
            wanted = replace(wanted, types=sorted({kind for _, kind in items}))
        step = next((STEPS[word] for word in by if word in STEPS), None)
        grouping = Grouping(tuple(code for code in CODES if code in by), step, items)
        numbers, old, new = read(
            lambda: store.read(wanted, grouping, max_groups=limit, max_rows=MAX_ROWS, max_read=MAX_READ)
        )
        return _answer(numbers, old, new, grouping)

    def names(self, who: Principal, product: str | None = None) -> list[str]:
        """Return the names of context items in the catalog that the caller may use."""
        return sorted({name for row in self._types(who, product) for name in row.context})

    def _types(self, who: Principal, product: str | None) -> list[EventType]:
        rows = self._catalog.types(who, MAX_TYPES)
        return [row for row in rows if product in (None, row.product)]

    def _check(
        self, who: Principal, wanted: EventFilter, by: Sequence[str], context: str | None
    ) -> dict[tuple[str, str], int] | None:
        """Return the index of the context item by product and type, or None if it is not asked for."""
        faults = [FieldError(f'by has "{word[:60]}"; it may have {", ".join(BY)}.') for word in by if word not in BY]
        if len(set(by)) < len(by) or set(STEPS) <= set(by):
            faults.append(FieldError("by has a word twice, or both hour and day; each may come once, one of these."))
        if (CONTEXT in by) != (context is not None):
            faults.append(FieldError("context names the item that by=context counts; send both or neither."))
        if faults:
            raise InputInvalid("The question is wrong.", faults)
        if context is None:
            return None
        types = self._types(who, wanted.product)
        items = {
            (row.product, row.code): row.context.index(context)
            for row in types
            if context in row.context and (not wanted.types or row.code in wanted.types)
        }
        if not items:
            near = difflib.get_close_matches(context, {name for row in types for name in row.context}, NAMED, 0.4)
            hint = f"; the nearest are {', '.join(near)}" if near else ""
            message = f'context is "{context[:60]}", which the catalog names for none of these types{hint}. {NAME_IT}'
            raise InputInvalid("The question is wrong.", [FieldError(message)])
        return items


def _answer(numbers: Numbers | None, old: int, new: int, grouping: Grouping) -> Counts:
    if new > MAX_READ:
        raise Overloaded(f"{new:,} events have not been counted yet, more than may be read for a question.")
    if numbers is None:
        advice = (
            "narrow the period, name a customer and product, or start a report"
            if grouping.items is not None
            else "begin and end with whole hours"
        )
        read_ = f"about {old:,} events would be read, and {MAX_READ:,} may be"
        message = f"start and end are too far apart: {read_}; {advice}."
        raise InputInvalid("The question reads too many events.", [FieldError(message)])
    if len(numbers.rows) > MAX_ROWS:
        message = f"limit allows more than {MAX_ROWS:,} rows; send a smaller one, or narrow the period."
        raise InputInvalid("The answer has too many rows.", [FieldError(message)])
    shown = sum(row.number for row in numbers.rows)
    groups = len({row.values for row in numbers.rows})
    return Counts(
        grouping.keys, grouping.step, numbers.rows, numbers.total, numbers.groups - groups, numbers.total - shown
    )
