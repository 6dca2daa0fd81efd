"""Volume chart of the overview: the range that the URL requests, and the template values of the chart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from flask import render_template, request
from werkzeug.datastructures import MultiDict
from wtforms import Form

from app.admin.blueprint import services
from app.admin.datetime_field import DatetimeField, EndField, given_times
from app.admin.events.chart import draw
from app.admin.form_errors import attach_errors
from app.admin.pages import Values, page
from app.auth import caller
from app.exceptions import InputInvalid
from app.schemas.reports import FilterSchema
from app.services.events.volume import DEFAULT_RANGE, DEFAULT_SPLIT, MINUTE, RANGES, SPLITS, Span, between, preset
from app.support.clock import now

# The name of each range, and that of the preceding time of the same length.
RANGE_NAMES = {
    "1h": ("Last hour", "the hour before"),
    "24h": ("24 hours", "the 24 hours before"),
    "7d": ("7 days", "the 7 days before"),
    "30d": ("30 days", "the 30 days before"),
}


class RangeForm(Form):
    """Form for a custom range."""

    start = DatetimeField("From")
    end = EndField("To")


@dataclass(frozen=True)
class VolumeQuery:
    """Query of a volume chart, read from the URL."""

    args: MultiDict[str, str]

    @cached_property
    def form(self) -> RangeForm:
        return RangeForm(self.args)

    @cached_property
    def custom(self) -> dict[str, str]:
        """Return the start and end of the custom range, as far as they are set."""
        return given_times(self.form)

    @property
    def split(self) -> str:
        """Return what the bars are split by."""
        return self.args["by"] if self.args.get("by") in SPLITS else DEFAULT_SPLIT

    @property
    def range(self) -> str | None:
        """Return the name of the preset range, or None if the range is custom."""
        named = self.args["range"] if self.args.get("range") in RANGES else DEFAULT_RANGE
        return None if self.custom else named

    @property
    def address(self) -> dict[str, str]:
        """Return the query as URL arguments, without default values."""
        return self.with_()

    def with_(self, *, range: str | None = None, split: str | None = None) -> dict[str, str]:
        """Return the URL arguments with another preset range or another split."""
        named, split = range or self.range, split or self.split
        address = self.custom if named is None else {} if named == DEFAULT_RANGE else {"range": named}
        return address | ({} if split == DEFAULT_SPLIT else {"by": split})

    @property
    def is_plain(self) -> bool:
        """Return whether the URL has no redundant arguments."""
        return self.args.to_dict(flat=False) == {name: [value] for name, value in self.address.items()}

    def span(self) -> Span:
        """Return the range.

        Raises:
            InputInvalid: the range is invalid.
        """
        if self.range is not None:
            return preset(self.range, now())
        found = FilterSchema(partial=True).load_query({**self.custom})
        return between(found.get("start", 0), found.get("end", now()))

    def without_range(self) -> VolumeQuery:
        """Return the query without its range."""
        return VolumeQuery(MultiDict({"by": self.split}))

    def attach(self, error: InputInvalid) -> None:
        """Attach each error to the start or end of the range, in the words of the form."""
        words = f" {self.form.start.label.text}"
        renamed = [one.with_message(one.message.replace(" start", words)) for one in error.field_errors]
        attach_errors(self.form, renamed)


@page("/overview/chart", "events")
def overview_chart() -> str:
    return render_template("admin/events/_traffic.html", **chart_values(VolumeQuery(request.args)))


def chart_values(query: VolumeQuery) -> Values:
    """Return the template values of the chart."""
    chart = services().volume.chart(caller(), query.span(), query.split)
    return {
        "query": query,
        "form": query.form,
        "chart": chart,
        "drawing": draw(chart),
        "before": "the same time before" if query.range is None else RANGE_NAMES[query.range][1],
        "ranges": {name: words for name, (words, _) in RANGE_NAMES.items()},
        "splits": SPLITS,
        "minute": MINUTE,
        "uncounted": services().volume.uncounted() if caller().may("system") else 0,
    }
