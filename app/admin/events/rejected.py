"""Pages of rejected events: grouped by reason, or as a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flask import render_template, request
from flask.typing import ResponseReturnValue

from app.admin.blueprint import services
from app.admin.events.rejected_filter import RejectedQuery, read_query
from app.admin.pages import Values, page, parse_id
from app.auth import caller
from app.services.events.rejected_groups import MAX_GROUPS, STEPS
from app.services.events.rejected_query import within_reach
from app.services.rows import ALL_REJECTED as ALL
from app.services.rows import SEARCHED_REJECTED as SEARCHED
from app.services.rows import RejectedEvent, RejectedFilter, RejectedRequest

PAGE_SIZE = 50
SHOWN_CHARACTERS = 5_000  # of an event in the list; its own page shows all of it


@dataclass(frozen=True)
class Counts:
    """Counts of rejected events and refused requests.

    Attributes:
        fields: number of events for each invalid field, largest first. An empty name means the event as a whole.
        number: number of stored rejected events.
        dropped: number of rejected events that were not stored.
        requests: number of stored refused requests.
        waiting: number of valid events in these requests.
        is_filtered: whether a filter limits the events.
    """

    fields: list[tuple[str, int]]
    number: int
    dropped: int
    requests: int
    waiting: int
    is_filtered: bool


@page("/rejected", "system")
def rejected() -> ResponseReturnValue:
    """Show rejected events grouped by reason."""
    query = read_query()
    return render_template("admin/events/rejected.html", **_group_values(query)), query.status


@page("/rejected/by/reason", "system")
def rejected_part() -> ResponseReturnValue:
    query = read_query()
    return render_template("admin/events/_rejected.html", **_group_values(query)), query.status


@page("/rejected/by/event", "system")
def rejected_list() -> ResponseReturnValue:
    """Show the newest rejected events, or those before a given event."""
    query, before = read_query(), before_id()
    wanted = within_reach(caller(), query.filter, before)
    found = [] if query.status != 200 else services().rejected.page(caller(), PAGE_SIZE + 1, before, wanted)
    values = list_values(found, PAGE_SIZE) | query.values()
    if values["more"] is None and wanted.min_id:
        values |= {"more": wanted.min_id + 1, "searched": SEARCHED}
    values |= {"companions": services().rejected.companions(caller(), found), "shown": SHOWN_CHARACTERS}
    return render_template("admin/events/rejected_list.html", rejects=counts(query.filter), **values), query.status


def counts(wanted: RejectedFilter = ALL) -> Counts:
    """Return the counts of the events that match, and of all requests."""
    fields = services().rejected.by_field(caller(), wanted)
    number = sum(number for _, number in fields)
    dropped, totals = services().rejected.dropped(), services().rejected.request_totals(caller())
    return Counts(fields, number, dropped, *totals, not wanted.is_empty)


def _group_values(query: RejectedQuery) -> Values:
    step = request.args.get("by", "")
    step = step if step in STEPS else "day"
    groups = [] if query.status != 200 else services().rejected_groups.every(caller(), step, query.filter)
    values = {"groups": groups, "step": step, "most": MAX_GROUPS, "searched": SEARCHED if query.filter.text else None}
    return values | {"rejects": counts(query.filter)} | query.values()


def before_id() -> int | None:
    """Return the id of the row before which a list begins, or None for its first page."""
    before = request.args.get("before")
    return None if before is None else parse_id(before)


def list_values(found: Sequence[RejectedEvent | RejectedRequest], size: int) -> Values:
    """Return the template values of a page of a list, of which one row more than fits was read."""
    more = found[size - 1].id if len(found) > size else None
    return {"found": found[:size], "more": more, "is_first": "before" not in request.args}
