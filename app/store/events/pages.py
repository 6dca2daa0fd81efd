"""Pages of events, newest first, for `GET /events` and the pages that list events. Every page is as fast as the first.

Events have only one index, (customer, product, timestamp), because each index slows down every insert. A query for one
customer and product scans it backwards. The cost of a less specific query depends on the number of pairs of customer
and product that were ever seen. It queries a few pairs separately and merges the results. With many pairs, it queries
only those with the newest events, which one look-up for each pair finds, or those that the hourly counts have in the
hours that fill a page. A query for a rare type would scan millions of other events, so it reads only the hours and time
ranges that the hourly counts have for the type.

The table of observed codes and the counts may lack the newest events, so these are read individually.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.event_columns import NAMES
from app.store.backends.backend import Rows
from app.store.database import database
from app.store.events import batches, hourly_counts
from app.store.events.filters import EventFilter, Position
from app.store.events.hourly_counts import HourBucket
from app.store.models import ObservedCode
from app.store.queries import among, equal, fetch
from app.support.clock import HOUR_MS

FULL = f"{NAMES}, id"
TERMS = 100  # per UNION; SQLite allows 500
PARAMETERS = 30_000  # per query; SQLite allows 32,766
RARE = 50  # a type is rare if less than one in this many of the neighboring events has it
RECENT = 2_000  # latest events that are searched for those of some customers
MANY_PAIRS = 100  # pairs of customer and product above which they are not queried one by one
FEW = 101  # events of a page up to which, with many pairs, the pairs are found that can have them
SLICE_EVENTS = 20_000  # with many pairs, an hour that has more events is read in parts

# Events too new to be counted. They are selected by id alone, regardless of the other conditions, so that the planner
# does not scan the other index.
TAIL = "WITH tail AS MATERIALIZED (SELECT * FROM event WHERE id > {mark})"


def page(wanted: EventFilter, limit: int) -> Rows:
    """Return the newest events by timestamp, then by acceptance, as rows of the columns in FULL.

    With `before`, return the oldest of the newer events, in the same order.
    """
    return rows([key for _, key in positions(wanted, limit)])


def positions(wanted: EventFilter, limit: int) -> list[Position]:
    """Return the positions of the events on a page."""
    if wanted.batch is not None:
        return batches.positions(wanted, limit)
    # Read before the hours, so that events counted meanwhile are found twice rather than missed.
    counted = hourly_counts.watermark()
    parts = _parts(wanted, counted)
    if parts is None:
        nearest = None if wanted.types or limit > FEW else _of_nearest_pairs(wanted, limit)
        found = {
            *_tail(counted, wanted, wanted.order, limit),
            *(_of_many(wanted, limit) if nearest is None else nearest),
        }
    else:
        dense: list[Part] = []
        rare: list[Part] = []
        for part in parts:
            (dense if not part.types or _is_dense(part, limit) else rare).append(part)
        found = set(_nearest(dense, limit))
        if rare:
            found |= {*_tail(counted, wanted, wanted.order, limit), *_of_rare(rare, limit)}
    first = sorted(found, reverse=not wanted.forward)[:limit]
    return first[::-1] if wanted.forward else first


@dataclass(frozen=True)
class Part(EventFilter):
    """The part of a filter for one pair of customer and product."""

    customer: str
    product: str


def _parts(wanted: EventFilter, counted: int) -> list[Part] | None:
    """Return the part for each pair of customer and product with matching events, or None for many pairs.

    Args:
        counted: the last event that the table of observed codes is certain to include.
    """
    pairs: set[tuple[str, str]]
    if wanted.customer is not None and wanted.product is not None:
        is_visible = wanted.customers is None or wanted.customer in wanted.customers
        pairs = {(wanted.customer, wanted.product)} if is_visible else set()
    else:
        query = ObservedCode.select(ObservedCode.customer, ObservedCode.product).distinct().limit(MANY_PAIRS + 1)
        query = equal(query, (ObservedCode.customer, wanted.customer), (ObservedCode.product, wanted.product))
        query = among(query, ObservedCode.customer, wanted.customers)
        query = among(query, ObservedCode.product, wanted.products)
        pairs = set(fetch(among(query, ObservedCode.type, wanted.types or None)))
        if len(pairs) <= MANY_PAIRS:
            condition, values = wanted.where()
            tail = TAIL.format(mark=database.param)
            newer = f"{tail} SELECT DISTINCT customer, product FROM tail WHERE {condition}"
            pairs.update(database.execute_sql(newer, [counted, *values]).fetchall())
        if len(pairs) > MANY_PAIRS:
            return None
    rest = vars(wanted) | {"customers": None, "products": None}
    return [Part(**rest | {"customer": customer, "product": product}) for customer, product in sorted(pairs)]


def _is_dense(part: Part, limit: int) -> bool:
    """Return whether a scan to the end of the page reads few events of other types."""
    number = 0
    found = _filled(part, limit + 1)
    for filled in found:
        number += filled.number
        if number >= limit:
            first, last = sorted((filled.hour, found[0].hour))
            return hourly_counts.number(part.customer, part.product, (), first, last) <= number * RARE
    return False


def _filled(part: Part, limit: int) -> list[HourBucket]:
    return hourly_counts.newest(
        part.customer, part.product, part.types, part.first, part.last, limit, oldest=part.forward
    )


def _nearest(parts: Sequence[EventFilter], limit: int) -> list[Position]:
    """Return the first positions that match any of the filters. Each of them scans the index as far as needed."""
    conditions = [part.where() for part in parts]
    parameters = max((len(values) for _, values in conditions), default=0)
    at_once = min(TERMS, PARAMETERS // (parameters + 1))
    found: list[Position] = []
    for begin in range(0, len(conditions), at_once):
        ends = f"ORDER BY {parts[0].order} LIMIT {limit}"
        some = conditions[begin : begin + at_once]
        terms = [
            f"SELECT * FROM (SELECT timestamp, id FROM event WHERE {condition} {ends}) AS part" for condition, _ in some
        ]
        together = f"SELECT * FROM ({' UNION ALL '.join(terms)}) AS parts {ends}"
        found += database.execute_sql(together, [value for _, values in some for value in values]).fetchall()
    return found


def _tail(key: int, wanted: EventFilter, order: str, limit: int) -> list[Position]:
    """Return the first positions, in a given order, among the events accepted after one event."""
    condition, values = wanted.where()
    tail = TAIL.format(mark=database.param)
    query = f"{tail} SELECT timestamp, id FROM tail WHERE {condition} ORDER BY {order} LIMIT {limit}"
    return database.execute_sql(query, [key, *values]).fetchall()


def _of_nearest_pairs(wanted: EventFilter, limit: int) -> list[Position] | None:
    """Return the first positions among the counted events of many pairs, or None if too few pairs have any.

    A page of `limit` events has only events of the `limit` pairs whose first events are nearest. These are found by one
    look-up for each pair, which costs less than finding the pairs of an hour.
    """
    codes, values = wanted.codes().where()
    rest = replace(wanted, customers=None, customer=None, product=None)
    condition, more = rest.where()
    first = (
        "SELECT timestamp FROM event WHERE event.customer = pair.customer AND event.product = pair.product "
        f"AND {condition} ORDER BY timestamp {'ASC' if wanted.forward else 'DESC'} LIMIT 1"
    )
    pairs = f"SELECT DISTINCT customer, product FROM observed_code WHERE {codes}"  # noqa: S608
    query = f"SELECT ({first}), customer, product FROM ({pairs}) AS pair"  # noqa: S608
    firsts = [row for row in database.execute_sql(query, [*more, *values]).fetchall() if row[0] is not None]
    if len(firsts) < limit:
        return None
    edge = sorted((time for time, *_ in firsts), reverse=not wanted.forward)[limit - 1]
    near = rest.between(None, edge) if wanted.forward else rest.between(edge, None)
    nearest = [codes for time, *codes in firsts if (time <= edge if wanted.forward else time >= edge)]
    return _nearest([replace(near, customer=customer, product=product) for customer, product in nearest], limit)


def _of_many(wanted: EventFilter, limit: int) -> list[Position]:
    """Return the first positions among the counted events of many pairs, one time range after another."""
    found: list[Position] = []
    rest, tries = wanted, 0
    while len(found) < limit and (filled := hourly_counts.hours_of_many(rest)):
        first, last = _stretch(rest, filled, limit - len(found), tries)
        pairs, values = hourly_counts.pairs_within(wanted, first, last)
        condition, more = replace(wanted, customers=None, customer=None, product=None).between(first, last).where()
        ends = f"ORDER BY {wanted.order} LIMIT {limit}"
        of_pairs = database.of_pairs(pairs, condition, ends)
        query = f"SELECT event.timestamp, event.id FROM {of_pairs} {ends.replace('timestamp', 'event.timestamp')}"
        found += database.execute_sql(query, [*values, *more]).fetchall()
        tries = tries + 1 if filled[0].number > SLICE_EVENTS else 0
        rest = replace(rest, start=last + 1) if wanted.forward else replace(rest, end=first - 1)
    return found


def _stretch(rest: EventFilter, filled: Sequence[HourBucket], limit: int, tries: int) -> tuple[int, int]:
    """Return the next time range to read, both ends included: hours that should fill the page, or a part of an hour.

    Args:
        tries: number of parts of a full hour that had too few events. Each makes the next part longer.
    """
    full, *others = filled
    if full.number > SLICE_EVENTS:  # from its first or last event, because the current hour ends in the future
        begin, end = max(full.hour, rest.first or 0), full.hour + HOUR_MS - 1
        end = end if rest.last is None else min(end, rest.last)
        begin, end = (max(begin, full.first_at), end) if rest.forward else (begin, min(end, full.last_at))
        length = HOUR_MS * limit // full.number * 4**tries
        return (begin, min(end, begin + length)) if rest.forward else (max(begin, end - length), end)
    edge, rows = full.hour, 0  # a part of the first hour may be on another page
    for bucket in others:
        if rows >= limit or bucket.number > SLICE_EVENTS:
            break
        edge, rows = bucket.hour, rows + bucket.number
    begin = max(min(full.hour, edge), rest.first or 0)
    end = max(full.hour, edge) + HOUR_MS - 1
    return begin, end if rest.last is None else min(end, rest.last)


def _of_rare(parts: Sequence[Part], limit: int) -> list[Position]:
    """Return the first positions of rare types among the counted events of several pairs.

    Together the pairs fill the page from fewer hours than each pair alone, so these hours are read first.
    """
    edge = _page_edge(parts, limit)
    if edge is not None:
        near = (None, edge + HOUR_MS - 1) if parts[0].forward else (edge, None)
        found = [position for part in parts for position in _counted(part.between(*near), limit)]
        if len(found) >= limit:
            return found
    return [position for part in parts for position in _counted(part, limit)]


def _page_edge(parts: Sequence[Part], limit: int) -> int | None:
    """Return the hour by which the pairs together certainly fill a page, or None if all their events do not."""
    merged = sorted((bucket for part in parts for bucket in _filled(part, limit)), reverse=not parts[0].forward)
    number = 0
    for filled in merged:
        number += filled.number if filled.hour != merged[0].hour else 0  # a part of that hour may be on another page
        if number >= limit:
            return filled.hour
    return None


def _counted(part: Part, limit: int) -> list[Position]:
    """Return the first positions of a rare type among the counted events, from the hours that have some."""
    found: list[Position] = []
    rest = part
    while len(found) < limit and (filled := _filled(rest, hourly_counts.HOURS)):
        left, number = limit - len(found), 0
        spans: list[HourBucket] = []  # as many as should fill the page; a part of the first hour may be on another page
        for bucket in filled:
            if number >= left:
                break
            spans.append(bucket)
            number += bucket.number
        found += _nearest([part.between(bucket.first_at, bucket.last_at) for bucket in spans], limit)
        hour = spans[-1].hour
        rest = replace(rest, start=hour + HOUR_MS) if part.forward else replace(rest, end=hour - 1)
    return found


def batch(name: str, key: int, reach: int) -> Rows:
    """Return the events of a batch in order, as rows of the columns in FULL.

    Batches have no index, but the events of a batch are accepted together.

    Args:
        key: the id of one event of the batch.
        reach: the maximum distance of the other ids.
    """
    mark = database.param
    query = f"SELECT {FULL} FROM event WHERE id BETWEEN {mark} AND {mark} AND batch = {mark} ORDER BY sequence"  # noqa: S608
    return database.execute_sql(query, (key - reach, key + reach, name)).fetchall()


def arrivals(limit: int, customers: Sequence[str] | None, now: int | None = None) -> Rows:
    """Return the most recently accepted events, newest first, with the columns in FULL.

    For some customers only, it searches the last events of all customers and the latest ones of these customers,
    because no index covers customer and time of acceptance.

    Args:
        now: the current time in milliseconds. Events dated later are ignored, because their time is unreliable.
    """
    if customers is None:
        return database.execute_sql(f"SELECT {FULL} FROM event ORDER BY id DESC LIMIT {limit}").fetchall()  # noqa: S608
    newest = database.fetch_int("SELECT coalesce(max(id), 0) FROM event")
    wanted = EventFilter(customers=customers)
    keys = {key for _, key in _tail(newest - RECENT, wanted, "id DESC", limit)} if customers else set()
    if len(keys) < limit:
        keys.update(key for _, key in positions(replace(wanted, end=now), limit))
    return rows(sorted(keys, reverse=True)[:limit])


def rows(keys: Sequence[int]) -> Rows:
    """Return the existing events with these ids, in the given order."""
    if not keys:
        return []
    marks = ", ".join([database.param] * len(keys))
    found = database.execute_sql(f"SELECT {FULL} FROM event WHERE id IN ({marks})", keys).fetchall()  # noqa: S608
    by_id = {row[-1]: row for row in found}
    return [by_id[key] for key in keys if key in by_id]
