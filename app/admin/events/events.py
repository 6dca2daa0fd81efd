"""Event pages: events by filter, a page at a time or live, and a single event with its batch and named context.

The URL contains the filter, so that it can be saved and shared. Its times are in milliseconds, which mean the same in
every zone. A form submitted by a browser is first redirected to that URL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from flask import redirect, render_template, request, url_for
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response
from wtforms import Form, StringField

from app.admin.blueprint import blueprint, services
from app.admin.datetime_field import DatetimeField, words_for_times
from app.admin.events import first_event
from app.admin.reports.new_report import SUGGESTED
from app.auth import caller, need, signed_in
from app.exceptions import FieldError, InputInvalid
from app.schemas.events import readable
from app.schemas.fields import MAX_TIME
from app.schemas.reports import FilterSchema
from app.services.events.listing import MAX_TEXT, EventFilter, Page
from app.services.events.volume import DAY, HOUR, MINUTE
from app.support.clock import now

PAGE = 50
OF_A_BATCH = 30  # events of a batch that are shown
OFFERED = 200  # types offered as checkboxes; users type others
KEY_DIGITS = 18
# Preset ranges: the milliseconds back from now, and a label.
RANGES = {
    "15m": (15 * MINUTE, "15 minutes"),
    "1h": (HOUR, "Hour"),
    "24h": (DAY, "24 hours"),
    "7d": (7 * DAY, "7 days"),
    "30d": (30 * DAY, "30 days"),
}


class EventsForm(Form):
    """Event filter, as a browser submits it."""

    customer = StringField("Customer")
    product = StringField("Product")
    start = DatetimeField("From")
    end = DatetimeField("To", whole=True)
    text = StringField("Text in the context")


@dataclass(frozen=True)
class EventsQuery:
    """Query of an event listing, read from the URL."""

    args: MultiDict

    @cached_property
    def form(self) -> EventsForm:
        """Return the form with the submitted values."""
        return EventsForm(self.args)

    @cached_property
    def types(self) -> list[str]:
        """Return the types, from checkboxes or from lines of text."""
        return [line.strip() for several in self.args.getlist("types") for line in several.splitlines() if line.strip()]

    @cached_property
    def address(self) -> dict[str, object]:
        """Return the query as URL arguments, without empty and default values."""
        form = self.form
        told = {name: (form[name].data or "").strip() for name in ("customer", "product", "text")}
        told |= {name: "" if form[name].data is None else str(form[name].data) for name in ("start", "end")}
        if self.args.get("range") in RANGES and not (told["start"] or told["end"]):
            told["range"] = self.args["range"]
        cursor = "before" if self.args.get("before") and not self.args.get("after") else "after"
        told[cursor] = self.args.get(cursor, "")
        return {name: value for name, value in (told | {"types": self.types}).items() if value}

    @property
    def is_plain(self) -> bool:
        """Return whether the URL has no redundant arguments."""
        given = {name: values if name == "types" else values[0] for name, values in self.args.lists()}
        return given == self.address and all(len(self.args.getlist(name)) == 1 for name in given if name != "types")

    def filter(self) -> dict[str, object]:
        """Return the filter as a report would have it, without fields that are not set.

        Raises:
            InputInvalid: the query is not a valid filter.
        """
        given = {name: self.address[name] for name in ("customer", "product", "start", "end") if name in self.address}
        if "range" in self.address:
            given |= {"start": str(now() - RANGES[self.address["range"]][0]), "end": str(now())}
        return FilterSchema(partial=True).load_query(given | ({"types": self.types} if self.types else {}))

    def without_page(self) -> dict[str, object]:
        """Return the URL arguments of the newest page of this query."""
        return {name: value for name, value in self.address.items() if name not in ("after", "before")}

    def within(self, range: str | None = None) -> dict[str, object]:
        """Return the URL arguments of this query within a preset range, or without a range."""
        rest = {name: value for name, value in self.without_page().items() if name not in ("range", "start", "end")}
        return rest | ({"range": range} if range else {})

    def refuse(self, field_errors: Sequence[FieldError]) -> list[str]:
        """Attach each error to its field, and return the messages that belong to no field."""
        general = []
        for fault in field_errors:
            name = fault.message.partition(" ")[0]
            if name not in self.form:
                general.append(fault.message)
                continue
            field = self.form[name]
            told = fault.message.removeprefix(name)
            told = words_for_times(told) if isinstance(field, DatetimeField) else told
            field.errors = [*field.errors, f"{field.label.text}{told}"]
        return general


@blueprint.get("/events")
@signed_in
def events() -> str | tuple[str, int] | Response:
    """Show the newest events that match the query."""
    need("events")
    asked = EventsQuery(request.args)
    if not asked.is_plain:
        return redirect(url_for("admin.events", **asked.address))
    try:
        filter = asked.filter()
        page = _page(asked, filter)
    except InputInvalid as error:
        general = asked.refuse(error.field_errors)
        return render_template("admin/events/events.html", **_offered(asked, {}), general=general, page=None), 400
    if "before" in asked.address and page.previous is None:
        return redirect(url_for("admin.events", **asked.without_page()))  # the newest page is live
    return render_template(
        "admin/events/events.html", **(_offered(asked, filter) | _found(asked, filter, page)), general=[]
    )


@blueprint.get("/events/part")
@signed_in
def events_part() -> str:
    """Return the part of the page that refreshes itself."""
    need("events")
    asked = EventsQuery(request.args)
    filter = asked.filter()
    return render_template("admin/events/_events.html", **_found(asked, filter, _page(asked, filter)))


@blueprint.get("/events/<key>")
@signed_in
def event(key: str) -> str:
    """Show an event with its named context and its batch."""
    need("events")
    one = services().listing.one(caller(), _key(key))
    batch = services().listing.batch(caller(), int(key), one)
    place = next((place for place, (other, _) in enumerate(batch) if other == int(key)), 0)
    begin = max(0, min(place - OF_A_BATCH // 2, len(batch) - OF_A_BATCH))
    known = {"batch": batch, "shown": batch[begin : begin + OF_A_BATCH], "begin": begin, "place": place}
    known["entry"] = services().catalog.type_named(one.product, one.type)
    return render_template(
        "admin/events/event.html", key=int(key), event=one, json=readable(one), minute=MINUTE, **known
    )


def _page(asked: EventsQuery, filter: dict[str, object]) -> Page:
    cursors = {name: asked.address.get(name) for name in ("after", "before", "text")}
    return services().listing.page(caller(), EventFilter(**_until_now(filter)), PAGE, **cursors)


def _until_now(filter: dict[str, object]) -> dict[str, object]:
    """Exclude events dated in the future unless they are requested, because they would precede all others."""
    is_open = "end" not in filter and filter.get("start", 0) <= now()
    return filter | ({"end": now()} if is_open else {})


def _later(filter: dict[str, object]) -> int:
    """Return about how many future events the page excludes."""
    if _until_now(filter) == filter:
        return 0
    return services().volume.estimate(caller(), EventFilter(**filter | {"start": now() + 1}))


def _found(asked: EventsQuery, filter: dict[str, object], page: Page) -> dict[str, object]:
    """Return the template values of the part that refreshes, which the full page needs, too."""
    is_first = not {"after", "before"} & set(asked.address)
    return {
        "asked": asked,
        "page": page,
        "is_first": is_first,
        "live": is_first and ("end" not in asked.address or filter["end"] >= now()),
        "later": _later(filter),
        "in_future": asked.without_page() | {"start": now(), "end": MAX_TIME},
        "page_size": PAGE,
        "moving": "text" not in asked.address,  # a search is expensive, and new matches are rare
        "about": services().volume.estimate(caller(), EventFilter(**filter)),
        "filter": filter,
        "export": _export(filter),
        **first_event.known(),
    }


def _export(filter: dict[str, object]) -> dict[str, object]:
    """Return the values that fill in the form of a new report."""
    return filter | ({"types": "\n".join(filter["types"])} if "types" in filter else {})


def _offered(asked: EventsQuery, filter: dict[str, object]) -> dict[str, object]:
    """Return the choices of the filter form; types are limited to those that match the rest of the filter."""
    customers, products = services().catalog.known(caller(), SUGGESTED + 1)
    seen = services().catalog.types_seen(caller(), filter.get("customer"), filter.get("product"), OFFERED + 1)
    types = sorted({*seen, *asked.types})
    known = {"customers": customers, "products": products, "types": types, "offered": OFFERED}
    return known | {"asked": asked, "form": asked.form, "ranges": RANGES, "max_text": MAX_TEXT}


def _key(text: str) -> int:
    """Return the id in the URL.

    Raises:
        NotFound: the text is not an id.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= KEY_DIGITS):
        raise NotFound
    return int(text)
