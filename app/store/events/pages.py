"""Pages of events, newest first, for `GET /events` and the pages that list events. Every page is as fast as the first.

Events have only one index, (customer, product, timestamp), because each index slows down every insert. A query for one
customer and product scans it backwards. The cost of a less specific query depends on the number of pairs of customer
and product that were ever seen. It queries a few pairs separately and merges the results. With many pairs, it queries
only those that the hourly counts have in the hours that fill a page. A query for a rare type would scan millions of
other events, so it reads only the hours and time ranges that the hourly counts have for the type.

The table of observed codes and the counts may lack the newest events, so these are read individually.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from app.store.database import database
from app.store.events import hourly_counts
from app.store.models import ObservedCode

FULL = "customer, product, type, version, timestamp, context, sequence, batch, received, id"
TERMS = 100  # per UNION; SQLite allows 500
PARAMETERS = 30_000  # per query; SQLite allows 32,766
RARE = 50  # a type is rare if less than one in this many of the neighboring events has it
RECENT = 2_000  # latest events that are searched for those of some customers
HOURS = 100  # searched at a time for a rare type
MANY_PAIRS = 100  # pairs of customer and product above which they are not queried one by one
SLICE_EVENTS = 20_000  # with many pairs, an hour that has more events is read in parts

Position = tuple[int, int]  # timestamp, id: where a page ends
Span = tuple[int, int]  # milliseconds: start inclusive, end exclusive
Condition = tuple[str, list[object]]  # SQL and its parameters


@dataclass(frozen=True)
class EventFilter:
    """Filter for events. None or empty means all.

    Attributes:
        customers: the customers visible to the user.
        start, end: milliseconds, both inclusive.
        after: position of the last event of a page, to get the next page with older events.
        before: position of the first event of a page, to get the previous page; excludes `after`.
    """

    customers: Sequence[str] | None = None
    customer: str | None = None
    product: str | None = None
    types: Sequence[str] = ()
    start: int | None = None
    end: int | None = None
    after: Position | None = None
    before: Position | None = None

    @property
    def last(self) -> int | None:
        """Return the latest timestamp that can be on the page."""
        times = [time for time in (self.end, self.after and self.after[0]) if time is not None]
        return min(times) if times else None

    @property
    def first(self) -> int | None:
        """Return the earliest timestamp that can be on the page."""
        times = [time for time in (self.start, self.before and self.before[0]) if time is not None]
        return max(times) if times else None

    @property
    def forward(self) -> bool:
        """Return whether to scan from the oldest event to the newest."""
        return self.before is not None


def page(wanted: EventFilter, limit: int) -> list[tuple]:
    """Return the newest events by timestamp, then by acceptance, as rows of the columns in FULL.

    With `before`, return the oldest of the newer events, in the same order.
    """
    return rows([key for _, key in positions(wanted, limit)])


def positions(wanted: EventFilter, limit: int) -> list[Position]:
    """Return the positions of the events on a page."""
    counted = (
        hourly_counts.watermark()
    )  # before the hours are read, so that events counted meanwhile are found twice rather than missed
    parts = _parts(wanted, counted)
    if parts is None:
        found = {*_uncounted(wanted, counted, limit), *_of_many(wanted, limit)}
    else:
        found = _of_few(wanted, parts, counted, limit)
    nearest = sorted(found, reverse=not wanted.forward)[:limit]
    return nearest[::-1] if wanted.forward else nearest


def _of_few(wanted: EventFilter, parts: Sequence[EventFilter], counted: int, limit: int) -> set[Position]:
    """Return the first positions of a few pairs, possibly with additional ones."""
    dense, rare = [], []
    for part in parts:
        (dense if not part.types or _is_dense(part, limit) else rare).append(part)
    found = set(_nearest([_condition(part) for part in dense], limit, forward=wanted.forward))
    if rare:
        found.update(_uncounted(wanted, counted, limit))
        found.update(_of_rare(rare, limit))
    return found


def _parts(wanted: EventFilter, counted: int) -> list[EventFilter] | None:
    """Return the filter for each pair of customer and product with matching events, or None for many pairs.

    Args:
        counted: the last event that the table of observed codes is certain to include.
    """
    if wanted.customer is not None and wanted.product is not None:
        is_visible = wanted.customers is None or wanted.customer in wanted.customers
        return [replace(wanted, customers=None)] if is_visible else []
    pairs = ObservedCode.select(ObservedCode.customer, ObservedCode.product).distinct().limit(MANY_PAIRS + 1)
    for field, code in ((ObservedCode.customer, wanted.customer), (ObservedCode.product, wanted.product)):
        pairs = pairs if code is None else pairs.where(field == code)
    for field, several in ((ObservedCode.customer, wanted.customers), (ObservedCode.type, wanted.types or None)):
        pairs = pairs if several is None else pairs.where(field.in_(list(several)))
    found = set(pairs.tuples())
    if len(found) <= MANY_PAIRS:
        found.update(_uncounted_pairs(wanted, counted))
    if len(found) > MANY_PAIRS:
        return None
    return [replace(wanted, customers=None, customer=customer, product=product) for customer, product in sorted(found)]


def _uncounted_pairs(wanted: EventFilter, counted: int) -> list[tuple[str, str]]:
    """Return the pairs of the events that are too new to be counted."""
    condition, values = _condition(wanted)
    query = (
        f"WITH tail AS MATERIALIZED (SELECT * FROM event WHERE id > {database.param}) "
        f"SELECT DISTINCT customer, product FROM tail WHERE {condition or 'TRUE'}"
    )
    return database.execute_sql(query, [counted, *values]).fetchall()


def _is_dense(part: EventFilter, limit: int) -> bool:
    """Return whether a scan to the end of the page reads few events of other types."""
    number = 0
    found = _filled(part, limit + 1)
    for filled in found:
        number += filled.number
        if number >= limit:
            first, last = sorted((filled.hour, found[0].hour))
            return hourly_counts.total(part.customer, part.product, first, last) <= number * RARE
    return False


def _filled(part: EventFilter, limit: int) -> list[hourly_counts.HourBucket]:
    """Return the hours that have events of a part's types, in scan order."""
    return hourly_counts.newest(
        part.customer, part.product, part.types, part.first, part.last, limit, oldest=part.forward
    )


def _nearest(conditions: Sequence[Condition], limit: int, *, forward: bool) -> Iterator[Position]:
    """Yield the first positions that match any of the conditions. Each condition scans the index as far as needed."""
    order = "timestamp, id" if forward else "timestamp DESC, id DESC"
    parameters = max((len(values) for _, values in conditions), default=0)
    at_once = min(TERMS, PARAMETERS // (parameters + 1))
    for begin in range(0, len(conditions), at_once):
        parts, values = [], []
        for condition, given in conditions[begin : begin + at_once]:
            nearest = f"SELECT timestamp, id FROM event WHERE {condition} ORDER BY {order} LIMIT {limit}"
            parts.append(f"SELECT * FROM ({nearest}) AS part")
            values += given
        together = f"SELECT * FROM ({' UNION ALL '.join(parts)}) AS parts ORDER BY {order} LIMIT {limit}"
        yield from database.execute_sql(together, values).fetchall()


def _uncounted(wanted: EventFilter, counted: int, limit: int) -> list[Position]:
    """Return the first positions among the events that are too new to be counted."""
    return _tail(counted, *_condition(wanted), "timestamp, id" if wanted.forward else "timestamp DESC, id DESC", limit)


def _tail(key: int, condition: str, values: list[object], order: str, limit: int) -> list[Position]:
    """Return the first positions, in a given order, among the events accepted after one event."""
    # Select by id alone, regardless of the other conditions, so that the planner does not scan the other index.
    query = (
        f"WITH tail AS MATERIALIZED (SELECT * FROM event WHERE id > {database.param}) SELECT timestamp, id FROM tail "
        f"WHERE {condition or 'TRUE'} ORDER BY {order} LIMIT {limit}"
    )
    return database.execute_sql(query, [key, *values]).fetchall()


def _of_many(wanted: EventFilter, limit: int) -> list[Position]:
    """Return the first positions among the counted events of many pairs, one time range after another."""
    found: list[Position] = []
    rest, tries = wanted, 0
    while len(found) < limit and (filled := _hours_of_many(rest)):
        first, last = _stretch(rest, filled, limit - len(found), tries)
        found += _within(wanted, first, last, limit)
        tries = tries + 1 if filled[0][1] > SLICE_EVENTS else 0
        rest = replace(rest, start=last + 1) if wanted.forward else replace(rest, end=first - 1)
    return found


def _hours_of_many(rest: EventFilter) -> list[tuple[int, int]]:
    """Return the first hours with matching events, and their numbers, as (hour, number)."""
    edge = _first_hour(rest)
    if edge is None:
        return []
    further = HOURS * hourly_counts.HOUR_MS
    ends = (edge, edge + further) if rest.forward else (edge - further, edge)
    condition, values = _hour_condition(rest, *ends)
    order = "hour" if rest.forward else "hour DESC"
    query = f"SELECT hour, sum(number) FROM hourly_count {condition} GROUP BY hour ORDER BY {order} LIMIT {HOURS}"  # noqa: S608
    return [(hour, int(number)) for hour, number in database.execute_sql(query, values).fetchall()]


def _first_hour(rest: EventFilter) -> int | None:
    """Return the first hour with matching events. It is found per code, because the only index starts with codes."""
    which = "min" if rest.forward else "max"
    same = " AND ".join(f"hourly_count.{name} = observed_code.{name}" for name in ("customer", "product", "type"))
    within = " AND ".join([same, *_hour_bounds(rest.first, rest.last)])
    condition, values = _condition(replace(rest, start=None, end=None, after=None, before=None))
    hour = f"(SELECT {which}(hour) FROM hourly_count WHERE {within})"
    query = f"SELECT {which}({hour}) FROM observed_code WHERE {condition or 'TRUE'}"
    return database.execute_sql(query, values).fetchone()[0]


def _stretch(rest: EventFilter, filled: Sequence[tuple[int, int]], limit: int, tries: int) -> Span:
    """Return the next time range to read, both ends included: hours that should fill the page, or a part of an hour.

    Args:
        tries: number of parts of a full hour that had too few events. Each makes the next part longer.
    """
    (hour, number), *others = filled
    edge, rows = hour, 0  # a part of the first hour may be on another page
    for at, more in others if number <= SLICE_EVENTS else ():
        if rows >= limit or more > SLICE_EVENTS:
            break
        edge, rows = at, rows + more
    begin = max(min(hour, edge), rest.first or 0)
    end = max(hour, edge) + hourly_counts.HOUR_MS - 1
    end = end if rest.last is None else min(end, rest.last)
    if number <= SLICE_EVENTS:
        return begin, end
    length = hourly_counts.HOUR_MS * limit // number * 4**tries
    return (begin, min(end, begin + length)) if rest.forward else (max(begin, end - length), end)


def _within(wanted: EventFilter, first: int, last: int, limit: int) -> list[Position]:
    """Return the first positions in a time range of all pairs that the counts have in its hours."""
    within, values = _hour_condition(wanted, first, last)
    some = replace(wanted, customers=None, customer=None, product=None)
    condition, more = _condition(some, (first, last + 1))
    order = "timestamp, id" if wanted.forward else "timestamp DESC, id DESC"
    ends = f"ORDER BY {order} LIMIT {limit}"
    of_pairs = database.of_pairs(f"SELECT DISTINCT customer, product FROM hourly_count {within}", condition, ends)
    query = f"SELECT event.timestamp, event.id FROM {of_pairs} {ends.replace('timestamp', 'event.timestamp')}"
    return database.execute_sql(query, [*values, *more]).fetchall()


def _hour_condition(wanted: EventFilter, first: int | None, last: int | None) -> Condition:
    """Return the SQL for the counts of matching events in the hours between two times."""
    condition, values = _condition(replace(wanted, start=None, end=None, after=None, before=None))
    # The counts are selected by their codes, as in `hourly_counts.of_known`.
    known = (
        f"(customer, product, type) IN (SELECT customer, product, type FROM observed_code WHERE {condition or 'TRUE'})"
    )
    return f"WHERE {' AND '.join([known, *_hour_bounds(first, last)])}", values


def _hour_bounds(first: int | None, last: int | None) -> list[str]:
    """Return the SQL for hours that lie between two times, entirely or partly."""
    bounds = [f"hour > {first - hourly_counts.HOUR_MS:d}"] if first is not None else []
    return bounds + ([f"hour <= {last:d}"] if last is not None else [])


def _of_rare(parts: Sequence[EventFilter], limit: int) -> list[Position]:
    """Return the first positions of rare types among the counted events of several pairs.

    Together the pairs fill the page from fewer hours than each pair alone, so these hours are read first.
    """
    for edge in (_page_edge(parts, limit), None):
        found = [position for part in parts for position in _counted(_up_to(part, edge), limit)]
        if len(found) >= limit:
            break
    return found


def _up_to(part: EventFilter, hour: int | None) -> EventFilter:
    """Return a part limited to end with an hour, in scan order."""
    if hour is None:
        return part
    if part.forward:
        end = hour + hourly_counts.HOUR_MS - 1
        return replace(part, end=end if part.end is None else min(part.end, end))
    return replace(part, start=max(part.start or 0, hour))


def _page_edge(parts: Sequence[EventFilter], limit: int) -> int | None:
    """Return the hour by which the pairs together certainly fill a page, or None if all their events do not."""
    merged = sorted(
        (row for part in parts for row in _filled(part, limit)), reverse=not any(part.forward for part in parts)
    )
    number = 0
    for filled in merged:
        number += filled.number if filled.hour != merged[0].hour else 0  # a part of that hour may be on another page
        if number >= limit:
            return filled.hour
    return None


def _counted(part: EventFilter, limit: int) -> list[Position]:
    """Return the first positions of a rare type among the counted events, from the hours that have some."""
    found: list[Position] = []
    rest = part
    while len(found) < limit:
        spans = _spans(_filled(rest, HOURS), limit - len(found))
        if not spans:
            break
        conditions = [_condition(part, span) for span in spans]
        found += _nearest(conditions, limit, forward=part.forward)
        hour = spans[-1][0] // hourly_counts.HOUR_MS * hourly_counts.HOUR_MS
        rest = replace(rest, start=hour + hourly_counts.HOUR_MS) if part.forward else replace(rest, end=hour - 1)
    return found


def _spans(filled: Sequence[hourly_counts.HourBucket], limit: int) -> list[Span]:
    """Return the time ranges of the events in the first hours, as many as should fill the page.

    A part of the first hour may be on another page.
    """
    spans: list[Span] = []
    number = 0
    for one in filled:
        if number >= limit:
            break
        spans.append((one.first, one.last + 1))
        number += one.number
    return spans


def _condition(wanted: EventFilter, span: Span | None = None) -> Condition:
    """Return the SQL of a filter, optionally limited to a time range."""
    mark = database.param
    parts, values = [], []
    for name, value in (("customer", wanted.customer), ("product", wanted.product)):
        if value is not None:
            parts.append(f"{name} = {mark}")
            values.append(value)
    for name, several in (("customer", wanted.customers), ("type", wanted.types or None)):
        if several is not None:
            # With no values, select nothing, because PostgreSQL does not accept an empty list, unlike SQLite.
            parts.append(f"{name} IN ({', '.join([mark] * len(several))})" if several else "1 = 0")
            values += several
    # One bound per side: SQLite uses only the first of two for the index, and scans to the other.
    begins = [time for time in (wanted.first, span and span[0]) if time is not None]
    ends = [time for time in (wanted.last, span and span[1] - 1) if time is not None]
    for condition, times, nearest in (("timestamp >=", begins, max), ("timestamp <=", ends, min)):
        if times:
            parts.append(f"{condition} {mark}")
            values.append(nearest(times))
    for sign, position in (("<", wanted.after), (">", wanted.before)):
        if position:
            parts.append(f"(timestamp, id) {sign} ({mark}, {mark})")
            values += position
    return " AND ".join(parts), values


def batch(name: str, key: int, reach: int) -> list[tuple]:
    """Return the events of a batch in order, as rows of the columns in FULL.

    Batches have no index, but the events of a batch are accepted together.

    Args:
        key: the id of one event of the batch.
        reach: the maximum distance of the other ids.
    """
    mark = database.param
    query = f"SELECT {FULL} FROM event WHERE id BETWEEN {mark} AND {mark} AND batch = {mark} ORDER BY sequence"  # noqa: S608
    return database.execute_sql(query, (key - reach, key + reach, name)).fetchall()


def arrivals(limit: int, customers: Sequence[str] | None, now: int | None = None) -> list[tuple]:
    """Return the most recently accepted events, newest first, with the columns in FULL.

    For some customers only, it searches the last events of all customers and the latest ones of these customers,
    because no index covers customer and time of acceptance.

    Args:
        now: the current time in milliseconds. Events dated later are ignored, because their time is unreliable.
    """
    if customers is None:
        return database.execute_sql(f"SELECT {FULL} FROM event ORDER BY id DESC LIMIT {limit}").fetchall()  # noqa: S608
    newest = database.execute_sql("SELECT coalesce(max(id), 0) FROM event").fetchone()[0]
    condition, values = _condition(EventFilter(customers=customers))
    keys = {key for _, key in _tail(newest - RECENT, condition, values, "id DESC", limit)} if customers else set()
    if len(keys) < limit:
        keys.update(key for _, key in positions(EventFilter(customers=customers, end=now), limit))
    return rows(sorted(keys, reverse=True)[:limit])


def rows(keys: Sequence[int]) -> list[tuple]:
    """Return the existing events with these ids, in the given order."""
    marks = ", ".join([database.param] * len(keys))
    if not keys:
        return []
    found = database.execute_sql(f"SELECT {FULL} FROM event WHERE id IN ({marks})", keys).fetchall()  # noqa: S608
    by_id = {row[-1]: row for row in found}
    return [by_id[key] for key in keys if key in by_id]
