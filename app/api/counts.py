"""`/counts`: numbers of events, for dashboards and questions that need no report."""

from __future__ import annotations

import csv
import io
from typing import Any

from flask import Blueprint, Response, request

from app.api.openapi.operations import Operation, described
from app.api.query import FILTER, choice, load_query, number
from app.api.responses import JsonResponse
from app.auth import caller, services
from app.schemas.reports import FilterSchema
from app.services.events.counts import MAX_GROUPS, Counts
from app.services.events.listing import EventFilter

blueprint = Blueprint("counts", __name__)
CSV = "text/csv"
REST = ("X-Rest-Groups", "X-Rest-Count")
ANSWER: dict[str, Any] = described("The numbers of the largest groups.", "Counts", *REST)


@blueprint.get("/counts")
@Operation(
    "events",
    {"200": ANSWER | {"content": {**ANSWER["content"], CSV: {"schema": {"type": "string"}}}}},
    errors=("503",),
    permission="events",
    query=("by", *FILTER, "context", "limit", "format"),
    description="Exact: what a count of all committed events would be. Whole hours and days (UTC) are counted "
    "beforehand; events are read for parts of an hour, and for `by=context`, within limits. With `format=csv`, or "
    "`Accept: text/csv`, the rows are CSV with a header, and the response headers have the rest.",
)
def index() -> Response:
    """Count events by customer, product, type, hour or day, and a context value."""
    filter = load_query(FilterSchema(partial=True), lists=("types",))
    by = [word for word in request.args.get("by", "").split(",") if word]
    limit = number("limit", MAX_GROUPS, MAX_GROUPS)
    format = choice("format", ("json", "csv")) or request.accept_mimetypes.best_match(["application/json", CSV])
    found = services().counting.ask(caller(), EventFilter(**filter), by, request.args.get("context"), limit)
    if format in ("csv", CSV):
        response = Response(_csv(found), content_type=f"{CSV}; charset=utf-8")
        response.headers.extend(dict(zip(REST, map(str, (found.rest_groups, found.rest)), strict=True)))
        return response
    rest = {"groups": found.rest_groups, "count": found.rest}
    return JsonResponse({"counts": found.flat(), "total": found.total, "rest": rest})


def _csv(found: Counts) -> str:
    time = [] if found.step is None else ["time"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*time, *found.keys, "count"])
    writer.writerows([*([] if row.time is None else [row.time]), *row.values, row.number] for row in found.rows)
    return text.getvalue()
