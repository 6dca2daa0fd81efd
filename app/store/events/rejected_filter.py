"""The filter for rejected events and refused requests, and its conditions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from peewee import ColumnBase, ModelSelect, Select

from app.store.models import RejectedEvent as Row
from app.store.models import RejectedRequest
from app.store.queries import AnySelect, among, equal, fetch_int

SEARCHED = 20_000  # events that a search for a text reads: the newest that match the rest of the filter
COLUMNS = (Row.id, Row.received_at, Row.customer, Row.product, Row.type, Row.field, Row.fault)
UNLIMITED = 2**62  # rows


@dataclass(frozen=True)
class RejectedFilter:
    """Filter for rejected events. None or an empty text means all.

    Attributes:
        customers: the customers visible to the user.
        field: the first invalid field; empty for the event as a whole.
        fault: missing, unknown or wrong.
        start, end: times of arrival in milliseconds, both inclusive.
        address: of the client, shortened.
        request_id: the X-Request-ID of the request.
        text: text in the event or in its reasons, ignoring case.
        min_id: an id; only events with larger ids match.
    """

    customers: Sequence[str] | None = None
    customer: str | None = None
    product: str | None = None
    type: str | None = None
    field: str | None = None
    fault: str | None = None
    start: int | None = None
    end: int | None = None
    address: str | None = None
    request_id: str | None = None
    text: str = ""
    min_id: int = 0

    @property
    def is_empty(self) -> bool:
        """Return whether the filter matches all events that the user may see."""
        return self == RejectedFilter(self.customers)

    def visible_to(self, customers: Sequence[str] | None) -> RejectedFilter:
        """Return the filter limited to the customers visible to a user."""
        return replace(self, customers=customers)

    def within_reach(self, before: int | None = None) -> RejectedFilter:
        """Return the filter limited to the events that a search for its text reads.

        Args:
            before: an id, which those events precede.
        """
        if not self.text:
            return self
        query = apply(Row.select(Row.id), replace(self, text="")).order_by(Row.id.desc())
        query = query if before is None else query.where(Row.id < before)
        return replace(self, min_id=max(0, fetch_int(query.offset(SEARCHED - 1).limit(1)) - 1))


ALL = RejectedFilter()


def apply(query: ModelSelect[Row], wanted: RejectedFilter) -> ModelSelect[Row]:
    """Limit a query to the events that a filter selects."""
    query = among(query, Row.customer, wanted.customers)
    codes = ((Row.customer, wanted.customer), (Row.product, wanted.product), (Row.type, wanted.type))
    reason = ((Row.field, wanted.field), (Row.fault, wanted.fault))
    origin = ((Row.address, wanted.address), (Row.request_id, wanted.request_id))
    query = equal(query, *codes, *reason, *origin)
    query = _received(query, Row.received_at, wanted)
    query = query.where(Row.id > wanted.min_id) if wanted.min_id else query
    if wanted.text:
        reasons = Row.reasons.cast("TEXT")  # as JSON
        query = query.where(Row.event.contains(wanted.text) | reasons.contains(_escaped(wanted.text)))
    return query


def chosen(wanted: RejectedFilter) -> Select:
    """Return the selected events as a table of COLUMNS, for queries that group them."""
    query = apply(Row.select(*COLUMNS), wanted)
    if wanted.text or wanted.address is not None or wanted.request_id is not None:
        # No index of groups has these columns, but SQLite would read the events by one, in any order.
        query = query.order_by(Row.id.desc()).limit(UNLIMITED)
    return query.alias("chosen")


def apply_to_requests(query: ModelSelect[RejectedRequest], wanted: RejectedFilter) -> ModelSelect[RejectedRequest]:
    """Limit a query to the refused requests that match a filter themselves or through their rejected events."""
    query = among(query, RejectedRequest.customer, wanted.customers)
    origin = ((RejectedRequest.address, wanted.address), (RejectedRequest.request_id, wanted.request_id))
    query = _received(equal(query, *origin), RejectedRequest.received_at, wanted)
    if wanted.customer is not None:
        of_customer = _select_requests(RejectedFilter(customer=wanted.customer))
        query = query.where((RejectedRequest.customer == wanted.customer) | RejectedRequest.uuid.in_(of_customer))
    names = ("product", "type", "field", "fault", "text")
    events = RejectedFilter(**{name: getattr(wanted, name) for name in names})
    return query if events.is_empty else query.where(RejectedRequest.uuid.in_(_select_requests(events.within_reach())))


def _select_requests(wanted: RejectedFilter) -> ModelSelect[Row]:
    return apply(Row.select(Row.request), wanted).where(Row.request.is_null(False))


def _received(query: AnySelect, column: ColumnBase, wanted: RejectedFilter) -> AnySelect:
    if wanted.start is not None:
        query = query.where(column >= wanted.start)
    return query if wanted.end is None else query.where(column <= wanted.end)


def _escaped(text: str) -> str:
    """Return a text as it is inside a string of JSON."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
