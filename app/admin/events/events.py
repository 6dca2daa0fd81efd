"""Event pages: events by filter, a page at a time or live, and a single event with its batch and named context.

The URL contains the filter, so that it can be saved and shared. Its times are in milliseconds, which mean the same in
every zone. A form submitted by a browser is first redirected to that URL.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flask import current_app, redirect, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict
from wtforms import Form, StringField

from app.admin.blueprint import services
from app.admin.datetime_field import DatetimeField, EndField, given_times
from app.admin.events.links import event_links
from app.admin.form_errors import attach_errors
from app.admin.lines_field import split_lines
from app.admin.pages import Values, link_to, page
from app.admin.reports.new_report import SUGGESTED
from app.auth import caller
from app.exceptions import InputInvalid
from app.schemas.events import readable
from app.schemas.fields import MAX_TIME
from app.schemas.reports import EventFilterSchema
from app.services.events.download import MAX_ROWS, MAX_SEARCHED
from app.services.events.listing import LATEST, MAX_TEXT, Page, is_old_batch
from app.services.events.volume import DAY, HOUR, MINUTE
from app.services.rows import EventFilter
from app.support import browser_client
from app.support.clock import now

PAGE_SIZE = 50
SHOWN_OF_BATCH = 30  # events of a batch that are shown
OFFERED_TYPES = 200  # types offered as checkboxes; users type others
# Preset ranges: the milliseconds back from now, and a label.
RANGES = {
    "15m": (15 * MINUTE, "15 minutes"),
    "1h": (HOUR, "Hour"),
    "24h": (DAY, "24 hours"),
    "7d": (7 * DAY, "7 days"),
    "30d": (30 * DAY, "30 days"),
}
Filter = dict[str, Any]  # of a report, as its schema returns it


class EventsForm(Form):
    """Event filter, as a browser submits it."""

    customer = StringField("Customer")
    product = StringField("Product")
    start = DatetimeField("From")
    end = EndField("To")
    context = StringField("Context item")
    value = StringField("Its value")
    batch = StringField("Batch id")
    text = StringField("Text in the context")


@dataclass(frozen=True)
class EventsQuery:
    """Query of an event listing, read from the URL."""

    args: MultiDict[str, str]

    @cached_property
    def form(self) -> EventsForm:
        return EventsForm(self.args)

    @cached_property
    def types(self) -> list[str]:
        """Return the types, from checkboxes or from lines of text."""
        return [line for text in self.args.getlist("types") for line in split_lines(text)]

    @cached_property
    def texts(self) -> dict[str, str]:
        """Return the query as URL arguments, without types and without empty and default values."""
        form = self.form
        texts = {name: (form[name].data or "").strip() for name in ("customer", "product", "context", "batch", "text")}
        texts["value"] = form.value.data or ""
        texts |= (times := given_times(form))
        if self.args.get("range") in RANGES and not times:
            texts["range"] = self.args["range"]
        cursor = "before" if self.args.get("before") and not self.args.get("after") else "after"
        texts[cursor] = self.args.get(cursor, "")
        return {name: value for name, value in texts.items() if value}

    @property
    def address(self) -> Values:
        """Return the query as URL arguments, without empty and default values."""
        return {**self.texts, "types": self.types} if self.types else {**self.texts}

    @property
    def is_plain(self) -> bool:
        """Return whether the URL has no redundant arguments."""
        given = {name: values if name == "types" else values[0] for name, values in self.args.lists()}
        return given == self.address and all(len(self.args.getlist(name)) == 1 for name in given if name != "types")

    def filter(self) -> Filter:
        """Return the filter as a report would have it.

        Raises:
            InputInvalid: the query is not a valid filter.
        """
        given: Values = {
            name: self.texts[name]
            for name in ("customer", "product", "start", "end", "context", "value", "batch")
            if name in self.texts
        }
        if "range" in self.texts:
            given |= {"start": str(now() - RANGES[self.texts["range"]][0]), "end": str(now())}
        return EventFilterSchema(partial=True).load_query(given | ({"types": self.types} if self.types else {}))

    def without_page(self) -> Values:
        """Return the URL arguments of the newest page of this query."""
        return {name: value for name, value in self.address.items() if name not in ("after", "before")}

    def within(self, range: str | None = None) -> Values:
        """Return the URL arguments of this query within a preset range, or without a range."""
        rest = {name: value for name, value in self.without_page().items() if name not in ("range", "start", "end")}
        return rest | ({"range": range} if range else {})


@page("/events", "events")
def events() -> ResponseReturnValue:
    """Show the newest events that match the query."""
    query = EventsQuery(request.args)
    if not query.is_plain:
        return redirect(link_to("events", **query.address))
    try:
        filter = query.filter()
        found = _find_page(query, filter)
    except InputInvalid as error:
        general = attach_errors(query.form, error.field_errors)
        return render_template("admin/events/events.html", **_choices(query, {}), general=general, page=None), 400
    if "before" in query.texts and found.previous is None:
        return redirect(link_to("events", **query.without_page()))  # the newest page is live
    values = _choices(query, filter) | _list_values(query, filter, found)
    return render_template("admin/events/events.html", **values, general=[])


@page("/events/part", "events")
def events_part() -> str:
    query = EventsQuery(request.args)
    filter = query.filter()
    return render_template("admin/events/_events.html", **_list_values(query, filter, _find_page(query, filter)))


@page("/events/<int:key>", "events")
def event(key: int) -> str:
    """Show an event with its named context and its batch."""
    found = services().listing.one(caller(), key)
    batch = services().listing.batch(caller(), key, found)
    place = next((place for place, (other, _) in enumerate(batch) if other == key), 0)
    begin = max(0, min(place - SHOWN_OF_BATCH // 2, len(batch) - SHOWN_OF_BATCH))
    shown = batch[begin : begin + SHOWN_OF_BATCH]
    values = {"batch": batch, "shown": shown, "begin": begin, "place": place}
    entry = services().catalog.type_named(found.product, found.type)
    return render_template(
        "admin/events/event.html",
        key=key,
        event=found,
        json=readable(found),
        minute=MINUTE,
        entry=entry,
        links=event_links(one for _, one in [(key, found), *shown]),
        **values,
    )


def first_event_values() -> Values:
    """Return the values of `_first_event.html`, which says how to send the first event."""
    base_url, client = current_app.config["SETTINGS"].base_url, browser_client.current()
    return {
        "base_url": base_url,
        "needs_key": services().admission.needs_key,
        "script_url": f"{base_url}/{browser_client.NAME}?v={client.hash}",
        "script_integrity": client.integrity,
    }


def _find_page(query: EventsQuery, filter: Filter) -> Page:
    cursors = {name: query.texts.get(name) for name in ("after", "before", "text")}
    wanted = services().catalog.event_filter(caller(), until_now(filter))
    return services().listing.page(caller(), wanted, PAGE_SIZE, **cursors)


def until_now(filter: Filter) -> Filter:
    """Exclude events dated in the future unless they are requested, because they would precede all others."""
    is_open = "end" not in filter and filter.get("start", 0) <= now() and "batch" not in filter
    return filter | {"end": now()} if is_open else filter


def _estimate(filter: Filter) -> int:
    return services().volume.estimate(caller(), EventFilter(**_of_report(filter)))


def _of_report(filter: Filter) -> Filter:
    """Return the part of a filter that reports and estimates have."""
    return {name: value for name, value in filter.items() if name not in ("context", "value", "batch")}


def _list_values(query: EventsQuery, filter: Filter, found: Page) -> Values:
    """Return the template values of the part that refreshes, which the full page needs, too."""
    is_first = not {"after", "before"} & set(query.texts)
    return {
        "query": query,
        "page": found,
        "links": event_links(found.events, query.without_page()),
        "is_first": is_first,
        "live": is_first and ("end" not in query.texts or filter["end"] >= now()),
        # Future events, which the page excludes.
        "later": 0 if until_now(filter) == filter else _estimate(filter | {"start": now() + 1}),
        "in_future": query.without_page() | {"start": now(), "end": MAX_TIME},
        "page_size": PAGE_SIZE,
        "moving": not {"text", "value", "batch"} & set(query.texts),  # a search is expensive, and new matches are rare
        "about": _estimate(filter),
        "max_download": MAX_ROWS,
        "max_searched": MAX_SEARCHED,
        "is_old_batch": "batch" in filter and is_old_batch(filter["batch"]),
        "latest": LATEST,
        "filter": filter,
        "export": _of_report(filter) | ({"types": "\n".join(filter["types"])} if "types" in filter else {}),
        **first_event_values(),
    }


def _choices(query: EventsQuery, filter: Filter) -> Values:
    """Return the choices of the filter form; types are limited to those that match the rest of the filter."""
    customers, products = services().catalog.known(caller(), SUGGESTED + 1)
    seen = services().catalog.types_seen(caller(), filter.get("customer"), filter.get("product"), OFFERED_TYPES + 1)
    types = sorted({*seen, *query.types})
    values: Values = {"customers": customers, "products": products, "types": types, "offered": OFFERED_TYPES}
    return values | {
        "query": query,
        "form": query.form,
        "ranges": RANGES,
        "max_text": MAX_TEXT,
        "names": services().catalog.item_names(caller()),
    }
