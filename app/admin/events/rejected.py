"""Pages of rejected events: grouped by reason, or as a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flask import render_template, request

from app.admin.blueprint import services
from app.admin.pages import Values, live_page, page, parse_id
from app.auth import caller
from app.services.events.rejected_groups import MAX_GROUPS, STEPS
from app.services.rows import RejectedEvent, RejectedRequest

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
    """

    fields: list[tuple[str, int]]
    number: int
    dropped: int
    requests: int
    waiting: int


@live_page("/rejected", "system", "admin/events/rejected.html", part="/by/reason")
def rejected() -> Values:
    """Show rejected events grouped by reason."""
    step = request.args.get("by", "")
    step = step if step in STEPS else "day"
    groups = services().rejected_groups.every(caller(), step)
    return {"groups": groups, "rejects": counts(), "step": step, "most": MAX_GROUPS}


@page("/rejected/by/event", "system")
def rejected_list() -> str:
    """Show the newest rejected events, or those before a given event."""
    found = services().rejected.page(caller(), PAGE_SIZE + 1, before_id())
    companions = services().rejected.companions(caller(), found)
    values = {"companions": companions, "rejects": counts(), "shown": SHOWN_CHARACTERS}
    return render_template("admin/events/rejected_list.html", **values, **list_values(found, PAGE_SIZE))


def counts() -> Counts:
    fields = services().rejected.by_field(caller())
    number = sum(number for _, number in fields)
    return Counts(fields, number, services().rejected.dropped(), *services().rejected.request_totals(caller()))


def before_id() -> int | None:
    """Return the id of the row before which a list begins, or None for its first page."""
    before = request.args.get("before")
    return None if before is None else parse_id(before)


def list_values(found: Sequence[RejectedEvent | RejectedRequest], size: int) -> Values:
    """Return the template values of a page of a list, of which one row more than fits was read."""
    more = found[size - 1].id if len(found) > size else None
    return {"found": found[:size], "more": more, "is_first": "before" not in request.args}
