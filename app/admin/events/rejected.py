"""Pages of rejected events: grouped by reason, or as a list."""

from __future__ import annotations

from dataclasses import dataclass

from flask import render_template, request
from werkzeug.exceptions import NotFound

from app.admin.blueprint import blueprint, services
from app.auth import caller, need, signed_in
from app.services.events.rejected_groups import MAX_GROUPS, STEPS

PAGE = 50
SHOWN_CHARACTERS = 5_000  # of an event in the list; its own page shows all of it
KEY_DIGITS = 18


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


@blueprint.get("/rejected")
@signed_in
def rejected() -> str:
    """Show rejected events grouped by reason."""
    return render_template("admin/events/rejected.html", **_found())


@blueprint.get("/rejected/by/reason")
@signed_in
def rejected_part() -> str:
    """Return the part of the page that refreshes itself."""
    return render_template("admin/events/_rejected.html", **_found())


@blueprint.get("/rejected/by/event")
@signed_in
def rejected_list() -> str:
    """Show the newest rejected events, or those before a given event."""
    need("system")
    before = request.args.get("before")
    found = services().rejected.page(caller(), PAGE + 1, None if before is None else key_of(before))
    more = found[PAGE - 1].id if len(found) > PAGE else None
    companions = services().rejected.companions(caller(), found)
    known = {
        "companions": companions,
        "rejects": counts(),
        "shown": SHOWN_CHARACTERS,
        "is_first": before is None,
        "more": more,
    }
    return render_template("admin/events/rejected_list.html", found=found[:PAGE], **known)


def counts() -> Counts:
    """Return the counts that the caller may see."""
    fields = services().rejected.by_field(caller())
    number = sum(number for _, number in fields)
    return Counts(fields, number, services().rejected.dropped(), *services().rejected.request_totals(caller()))


def key_of(text: str) -> int:
    """Return the id in the URL.

    Raises:
        NotFound: the text is not an id.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= KEY_DIGITS):
        raise NotFound
    return int(text)


def _found() -> dict[str, object]:
    need("system")
    step = request.args.get("by", "")
    step = step if step in STEPS else "day"
    groups = services().rejected_groups.every(caller(), step)
    return {"groups": groups, "rejects": counts(), "step": step, "most": MAX_GROUPS}
