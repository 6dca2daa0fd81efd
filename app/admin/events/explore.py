"""Explore: numbers of events by customer, product, type or context value, as a table and a chart over time.

The URL contains the question, so that it can be saved and shared. A form submitted by a browser is first redirected to
that URL.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlencode

from flask import redirect, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict
from wtforms import Form, SelectField, StringField

from app.admin.blueprint import services
from app.admin.datetime_field import DatetimeField, EndField, given_times
from app.admin.events.chart import UNITS, draw
from app.admin.form_errors import attach_errors
from app.admin.pages import Values, link_to, page
from app.admin.reports.new_report import SUGGESTED
from app.auth import caller
from app.exceptions import InputInvalid
from app.schemas.reports import FilterSchema
from app.services.events.counts import CODES, CONTEXT, STEPS, Counts
from app.services.events.listing import EventFilter
from app.services.events.volume import HOUR, MAX_SERIES, Chart, Series, Span, between, preset
from app.support.clock import now

RANGES = {"24h": "24 hours", "7d": "7 days", "30d": "30 days"}
DEFAULT_RANGE, DEFAULT_BY = "7d", "product"
SHOWN_GROUPS = 50
ITEM = f"{CONTEXT}:"  # before the name of a context item


class ExploreForm(Form):
    """Question, as a browser submits it."""

    by = SelectField("Count by", validate_choice=False)
    customer = StringField("Customer")
    product = StringField("Product")
    types = StringField("Event type")
    start = DatetimeField("From")
    end = EndField("To")


@dataclass(frozen=True)
class ExploreQuery:
    """Question about numbers of events, read from the URL."""

    args: MultiDict[str, str]

    @cached_property
    def form(self) -> ExploreForm:
        return ExploreForm(self.args)

    @property
    def by(self) -> str:
        """Return what the numbers are grouped by: a word of CODES, or ITEM and a name."""
        return self.args.get("by") or DEFAULT_BY

    @property
    def item(self) -> str | None:
        """Return the name of the context item that the numbers are grouped by, if any."""
        return self.by.removeprefix(ITEM) if self.by.startswith(ITEM) else None

    @cached_property
    def codes(self) -> dict[str, str]:
        """Return the codes of the filter that are set."""
        texts = {name: (self.form[name].data or "").strip() for name in ("customer", "product", "types")}
        return {name: text for name, text in texts.items() if text}

    @cached_property
    def custom(self) -> dict[str, str]:
        """Return the start and end of a custom range, as far as they are set."""
        return given_times(self.form)

    @property
    def range(self) -> str | None:
        """Return the name of the preset range, or None if the range is custom."""
        return None if self.custom else self.args["range"] if self.args.get("range") in RANGES else DEFAULT_RANGE

    @property
    def address(self) -> Values:
        """Return the question as URL arguments, without empty and default values."""
        return self.within(self.range)

    def within(self, range: str | None) -> Values:
        """Return the same question about a preset range."""
        by = {} if self.by == DEFAULT_BY else {"by": self.by}
        time = self.custom if range is None else {} if range == DEFAULT_RANGE else {"range": range}
        return {**by, **self.codes, **time}

    @property
    def is_plain(self) -> bool:
        """Return whether the URL has no redundant arguments."""
        return self.args.to_dict(flat=False) == {name: [value] for name, value in self.address.items()}

    def span(self) -> Span:
        """Return the range in whole hours or days.

        Raises:
            InputInvalid: the range is invalid.
        """
        if self.range is not None:
            return preset(self.range, now())
        found = FilterSchema(partial=True).load_query({**self.custom})
        span = between(found.get("start", 0), found.get("end", now()))
        if span.step >= HOUR:
            return span
        return Span(span.begin // HOUR * HOUR, -(-span.end // HOUR) * HOUR, HOUR)

    def filter(self, span: Span) -> EventFilter:
        """Return the events that are counted.

        Raises:
            InputInvalid: a code is invalid.
        """
        given: Values = {**self.codes, "start": str(span.begin), "end": str(span.end - 1)}
        if "types" in given:
            given["types"] = [self.codes["types"]]
        return EventFilter(**FilterSchema(partial=True).load_query(given))


@page("/explore", "events")
def explore() -> ResponseReturnValue:
    """Show the numbers that the question asks for."""
    query = ExploreQuery(request.args)
    if not query.is_plain:
        return redirect(link_to("explore", **query.address))
    try:
        span = query.span()
        values = _numbers(query, span, query.filter(span))
    except InputInvalid as error:
        general = attach_errors(query.form, error.field_errors)
        values = {"found": None, "general": general or [] if _has_errors(query) else [*general, str(error)][:1]}
        return render_template("admin/events/explore.html", **_choices(query), **values), 400
    return render_template("admin/events/explore.html", **_choices(query), **values, general=[])


def _has_errors(query: ExploreQuery) -> bool:
    return any(field.errors for field in query.form)


def _numbers(query: ExploreQuery, span: Span, wanted: EventFilter) -> Values:
    """Return the template values of the table and the chart."""
    ask, who = services().counting.ask, caller()
    step = UNITS[span.step]
    by = CONTEXT if query.item is not None else query.by
    found = ask(who, wanted, [by], query.item, SHOWN_GROUPS)
    over_time = ask(who, wanted, [step, by], query.item, MAX_SERIES)
    # Totals of a context item would include events without it, so its chart has only the largest groups.
    totals = None if query.item is not None or not over_time.rest_groups else ask(who, wanted, [step], None)
    chart = Chart(span, None, by, _series(span, over_time, totals), [], 0, 0)
    sent = {"by": by, "context": query.item, **query.codes, "start": span.begin, "end": span.end - 1}
    return {
        "found": found,
        "chart": chart,
        "drawing": draw(chart),
        "has_others": totals is not None or not over_time.rest_groups,
        "where": query.codes,
        "call": f"/counts?{urlencode({name: value for name, value in sent.items() if value is not None}, safe=',')}",
    }


def _series(span: Span, found: Counts, totals: Counts | None) -> tuple[Series, ...]:
    """Return the series of each group, the largest first, and that of all others."""
    numbers: dict[str | None, Counter[int]] = {}
    others: Counter[int] = Counter()
    for row in totals.rows if totals else ():
        others[row.time or 0] += row.number
    for row in found.rows:
        numbers.setdefault(row.values[0], Counter())[row.time or 0] += row.number
        others[row.time or 0] -= row.number if totals else 0
    largest = sorted(numbers, key=lambda code: (-numbers[code].total(), code or ""))
    series = [Series(_shown(code), tuple(numbers[code][time] for time in span.steps)) for code in largest]
    rest = tuple(others[time] for time in span.steps)
    return (*series, Series(None, rest)) if any(rest) else tuple(series)


def _shown(value: str | None) -> str:
    """Return a group's name; a series without one is that of all others."""
    return "(none)" if value is None else value or "(empty)"


def _choices(query: ExploreQuery) -> Values:
    """Return the choices of the form."""
    customers, products = services().catalog.known(caller(), SUGGESTED + 1)
    product = query.codes.get("product")
    types = services().catalog.types_seen(caller(), query.codes.get("customer"), product, SUGGESTED + 1)
    names = services().counting.names(caller(), product)
    query.form.by.choices = [
        *((code, f"{code.capitalize()}") for code in CODES),
        *((ITEM + name, f"Value of {name}") for name in sorted({*names, *([query.item] if query.item else [])})),
    ]
    query.form.by.data = query.by
    values: Values = {"customers": customers, "products": products, "types": sorted(types), "ranges": RANGES}
    return values | {"query": query, "form": query.form, "steps": STEPS}
