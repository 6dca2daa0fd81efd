"""Queries about rejected events and refused requests."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from peewee import SQL, ModelSelect, Node, fn

from app.store import queries, step_size
from app.store.database import database
from app.store.events.rejected_filter import ALL, RejectedFilter, apply, apply_to_requests, chosen
from app.store.models import RejectedCount, RejectedDrop, RejectedEvent, RejectedRequest
from app.store.queries import among, execute, fetch, fetch_int, find_one

Customers = Sequence[str] | None  # customers visible to the user; None means all


def add(rows: Sequence[dict[str, Any]], dropped: int, requests: Sequence[dict[str, Any]] = ()) -> None:
    """Store rejected events and refused requests, and add to the count of dropped events."""
    with database.atomic():
        for request in requests:
            execute(RejectedRequest.insert(request))
        write(rows, dropped)


def write(rows: Sequence[dict[str, Any]], dropped: int) -> None:
    """Store rejected events. Call it inside a transaction."""
    if rows:
        execute(RejectedEvent.insert_many(rows))
    # Always in the same order, so that concurrent transactions do not deadlock.
    for (field, fault), number in sorted(Counter((row["field"], row["fault"]) for row in rows).items()):
        count = RejectedCount.insert(field=field, fault=fault, number=number).on_conflict(
            conflict_target=["field", "fault"], update={RejectedCount.number: RejectedCount.number + number}
        )
        execute(count)
    if dropped:
        execute(RejectedDrop.update(number=RejectedDrop.number + dropped))


def newest(limit: int, *, before: int | None = None, wanted: RejectedFilter = ALL) -> list[RejectedEvent]:
    """Return the newest rejected events that match, `before` an id for the next page."""
    query = apply(RejectedEvent.select(RejectedEvent.id), wanted)
    query = query if before is None else query.where(RejectedEvent.id < before)
    return _fetch_rows(query, RejectedEvent.id.desc(), limit)


def oldest(limit: int, *, after: int, up_to: int, wanted: RejectedFilter = ALL) -> list[RejectedEvent]:
    """Return the oldest rejected events that match with ids after `after` and up to `up_to`."""
    query = apply(RejectedEvent.select(RejectedEvent.id), wanted)
    return _fetch_rows(query.where(RejectedEvent.id > after, RejectedEvent.id <= up_to), RejectedEvent.id, limit)


def _fetch_rows(query: ModelSelect[RejectedEvent], order: Node, limit: int) -> list[RejectedEvent]:
    """Return the first rows of a query for ids. Only ids are sorted, because events are long."""
    ids = query.order_by(order).limit(limit)
    return list(RejectedEvent.select().where(RejectedEvent.id.in_(ids)).order_by(order))


def of_customers(customers: Customers, limit: int, *, after: int) -> list[RejectedEvent]:
    """Return the oldest events of some customers, `after` an id for the next page. An empty code means no owner."""
    query = among(RejectedEvent.select(), RejectedEvent.customer, customers).where(RejectedEvent.id > after)
    return list(query.order_by(RejectedEvent.id).limit(limit))


def by_id(key: int) -> RejectedEvent | None:
    return find_one(RejectedEvent, "id", key)


def by_field(wanted: RejectedFilter) -> list[tuple[str, int]]:
    """Return the number of rejected events that match per invalid field, most first."""
    rows = chosen(wanted)
    number = fn.count(rows.c.id)
    query = RejectedEvent.select(rows.c.field, number).from_(rows)
    return fetch(query.group_by(rows.c.field).order_by(number.desc(), rows.c.field))


def dropped() -> int:
    """Return how many rejected events were dropped instead of stored."""
    return fetch_int(RejectedDrop.select(fn.sum(RejectedDrop.number)))


def update(key: int, values: Mapping[str, object]) -> None:
    """Replace columns of an event, unless it was removed meanwhile."""
    execute(RejectedEvent.update(values).where(RejectedEvent.id == key))


def remove(keys: Sequence[int]) -> int:
    """Remove events, also from their requests, and return how many existed."""
    with database.atomic():
        return claim(keys)


def claim(keys: Sequence[int]) -> int:
    """Remove events inside a transaction. Of two concurrent calls, only one finds an event."""
    chosen = RejectedEvent.id.in_(list(keys))
    places: dict[str, list[int]] = defaultdict(list)
    query = RejectedEvent.select(RejectedEvent.request, RejectedEvent.place)
    for uuid, place in fetch(query.where(chosen, RejectedEvent.request.is_null(False))):
        places[uuid].append(place)
    for uuid in sorted(places):
        exclude(uuid, places[uuid])
    return execute(RejectedEvent.delete().where(chosen))


def request(uuid: str) -> RejectedRequest | None:
    return find_one(RejectedRequest, "uuid", uuid)


def requests(limit: int, *, before: int | None = None, wanted: RejectedFilter = ALL) -> list[RejectedRequest]:
    """Return the newest matching refused requests without their bodies, `before` an id for the next page."""
    return queries.newest(apply_to_requests(_without_bodies(None), wanted), RejectedRequest.id, limit, before)


def requests_of(uuids: Collection[str], customers: Customers = None) -> list[RejectedRequest]:
    """Return some refused requests without their bodies, optionally only of some customers."""
    return list(_without_bodies(customers).where(RejectedRequest.uuid.in_(list(uuids))))


def request_totals(customers: Customers = None) -> tuple[int, int]:
    """Return the number of refused requests and of the valid events in them."""
    valid = fn.coalesce(fn.sum(RejectedRequest.events - RejectedRequest.invalid), 0)
    query = RejectedRequest.select(fn.count(RejectedRequest.id), valid)
    ((number, waiting),) = fetch(among(query, RejectedRequest.customer, customers))
    return number, int(waiting)


def members(uuid: str, limit: int | None = None) -> list[RejectedEvent]:
    """Return the rejected events of a request in their original order."""
    query = RejectedEvent.select().where(RejectedEvent.request == uuid).order_by(RejectedEvent.place, RejectedEvent.id)
    return list(query if limit is None else query.limit(limit))


def exclude(uuid: str, places: Sequence[int]) -> None:
    """Exclude events from a request that is sent again, and remove the request if no event remains.

    Call it inside a transaction.
    """
    found = _locked(uuid)
    if found is None:
        return
    excluded = sorted({*found.excluded_places, *places})
    if len(excluded) >= found.events:
        execute(RejectedRequest.delete().where(RejectedRequest.uuid == uuid))
    else:
        execute(RejectedRequest.update(excluded_places=excluded).where(RejectedRequest.uuid == uuid))


def replace_body(uuid: str, body: bytes, *, is_lines: bool) -> None:
    """Replace the body of a request after parts of it were erased."""
    query = RejectedRequest.update(body=body, bytes=len(body), is_lines=is_lines)
    execute(query.where(RejectedRequest.uuid == uuid))


def remove_request(uuid: str) -> bool:
    """Remove a request and its rejected events, and return whether it existed."""
    with database.atomic():
        return claim_request(uuid)


def claim_request(uuid: str, excluded: Sequence[int] | None = None) -> bool:
    """Remove a request inside a transaction. Of two concurrent calls, only one finds it.

    Args:
        excluded: the places that must be exactly those excluded from the request. Otherwise it remains.
    """
    found = _locked(uuid)
    if found is None or excluded not in (None, found.excluded_places):
        return False
    execute(RejectedEvent.delete().where(RejectedEvent.request == uuid))
    return execute(RejectedRequest.delete().where(RejectedRequest.uuid == uuid)) == 1


def purge(before: int, max_number: int, max_bytes: int) -> None:
    """Remove events and requests received before a time, and the oldest ones beyond a number or size."""
    for table in (RejectedEvent, RejectedRequest):
        last = fetch_int(table.select(table.id).order_by(table.id.desc()).offset(max_number).limit(1))
        if fetch_int(table.select(fn.sum(table.bytes))) > max_bytes:
            running = table.select(table.id, fn.sum(table.bytes).over(order_by=[table.id.desc()]).alias("total"))
            beyond = RejectedEvent.select(fn.max(SQL("id"))).from_(running.alias("running"))
            last = max(last, fetch_int(beyond.where(SQL("total") > max_bytes)))
        step_size.purge(table.id, (table.received_at < before) | (table.id <= last))


def _locked(uuid: str) -> RejectedRequest | None:
    """Return a request and lock it against changes until the transaction ends."""
    same = RejectedRequest.uuid == uuid
    execute(RejectedRequest.update(events=RejectedRequest.events).where(same))
    found: RejectedRequest | None = (
        RejectedRequest.select(RejectedRequest.events, RejectedRequest.excluded_places).where(same).first()
    )
    return found


def _without_bodies(customers: Customers) -> ModelSelect[RejectedRequest]:
    columns = [column for column in RejectedRequest._meta.sorted_fields if column is not RejectedRequest.body]
    return among(RejectedRequest.select(*columns), RejectedRequest.customer, customers)
