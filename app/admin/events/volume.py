"""Volume chart of the overview: the range that the URL requests, and the template values of the chart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from flask import render_template, request
from werkzeug.datastructures import MultiDict
from wtforms import Form

from app.admin.blueprint import blueprint, services
from app.admin.datetime_field import DatetimeField, words_for_times
from app.admin.events.chart import draw
from app.auth import caller, need, signed_in
from app.exceptions import InputInvalid
from app.schemas.reports import FilterSchema
from app.services.events.volume import DEFAULT_RANGE, DEFAULT_SPLIT, MINUTE, RANGES, SPLITS, Span, between, preset
from app.support.clock import now

# The name of each range, and that of the preceding time of the same length.
WORDS = {
    "1h": ("Last hour", "the hour before"),
    "24h": ("24 hours", "the 24 hours before"),
    "7d": ("7 days", "the 7 days before"),
    "30d": ("30 days", "the 30 days before"),
}
BEFORE = "the same time before"


class RangeForm(Form):
    """Form for a custom range."""

    start = DatetimeField("From")
    end = DatetimeField("To", whole=True)


@dataclass(frozen=True)
class VolumeQuery:
    """Query of a volume chart, read from the URL."""

    args: MultiDict

    @cached_property
    def form(self) -> RangeForm:
        """Return the form of the custom range."""
        return RangeForm(self.args)

    @property
    def split(self) -> str:
        """Return what the bars are split by."""
        return self.args["by"] if self.args.get("by") in SPLITS else DEFAULT_SPLIT

    @property
    def is_own(self) -> bool:
        """Return whether the range is custom."""
        return self.form.start.data is not None or self.form.end.data is not None

    @property
    def range(self) -> str | None:
        """Return the name of the preset range, or None if the range is custom."""
        named = self.args["range"] if self.args.get("range") in RANGES else DEFAULT_RANGE
        return None if self.is_own else named

    @property
    def address(self) -> dict[str, object]:
        """Return the query as URL arguments, without default values."""
        return self.with_(split=self.split)

    def with_(self, *, range: str | None = None, split: str | None = None) -> dict[str, object]:
        """Return the URL arguments with another preset range or another split."""
        own = {name: str(self.form[name].data) for name in ("start", "end") if self.form[name].data is not None}
        named = range or self.range
        told = own if named is None else {} if named == DEFAULT_RANGE else {"range": named}
        split = split or self.split
        return told | ({} if split == DEFAULT_SPLIT else {"by": split})

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
        given = {name: str(self.form[name].data) for name in ("start", "end") if self.form[name].data is not None}
        found = FilterSchema(partial=True).load_query(given)
        return between(found.get("start", 0), found.get("end", now()))

    def without_range(self) -> VolumeQuery:
        """Return the query without its range."""
        return VolumeQuery(MultiDict({"by": self.split}))

    def refuse(self, error: InputInvalid) -> None:
        """Attach each error to the start or end of the range."""
        for fault in error.field_errors:
            name = fault.message.partition(" ")[0]
            field = self.form["start" if name == "start" else "end"]
            told = words_for_times(fault.message.removeprefix(name)).replace(" start", f" {self.form.start.label.text}")
            field.errors = [*field.errors, f"{field.label.text}{told}"]


@blueprint.get("/overview/chart")
@signed_in
def overview_chart() -> str:
    """Return the part of the chart that refreshes itself."""
    need("events")
    asked = VolumeQuery(request.args)
    return render_template("admin/events/_traffic.html", **charted(asked))


def charted(asked: VolumeQuery) -> dict[str, object]:
    """Return the template values of the chart."""
    chart = services().volume.chart(caller(), asked.span(), asked.split)
    return {
        "asked": asked,
        "form": asked.form,
        "chart": chart,
        "drawing": draw(chart),
        "before": BEFORE if asked.range is None else WORDS[asked.range][1],
        "ranges": {name: words for name, (words, _) in WORDS.items()},
        "splits": SPLITS,
        "minute": MINUTE,
        "uncounted": services().volume.uncounted() if caller().may("system") else 0,
    }
