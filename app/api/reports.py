"""`/reports`: clients start a report, poll it, and download its file."""

from __future__ import annotations

import json

from flask import Blueprint, redirect, request
from werkzeug.datastructures import MIMEAccept
from werkzeug.wrappers import Response

from app.api.body import read_json_body
from app.api.headers import ignored_fields
from app.api.openapi.operations import Operation, described, described_body, described_redirect
from app.api.query import MAX_PAGE_SIZE, PAGE_SIZE, choice, cursor, number
from app.api.responses import JSON, JsonResponse
from app.auth import caller, services
from app.schemas.progress import progress
from app.schemas.reports import STATUSES, ReportRequestSchema, job

blueprint = Blueprint("reports", __name__)
MAX_HEADER_CHARACTERS = 2_000  # nginx accepts 4,096 for all headers together
EXAMPLE = {
    "filter": {"customer": "BARCHART", "product": "PORTFOLIO", "start": 1793000000000, "end": "1795591999999"},
    "output": {"delimiter": "|", "header": True},
}
JOB = described("The report.", "Job")


@blueprint.post("/reports")
@Operation(
    "reports",
    {"200": described("The report.", "Job", "X-Ignored-Fields")},
    errors=("413", "415", "503"),
    permission="reports",
    parameters=("Content-Encoding",),
    body=described_body(ReportRequestSchema, {"report": EXAMPLE}),
)
def start() -> Response:
    """Accept a report; the job is answered as soon as its row is committed.

    The keys of a job are fixed, so a header lists the columns of its file, unless it would be too long for proxies.
    """
    with read_json_body() as body:
        wanted, ignored = ReportRequestSchema().load_with_ignored(body)
    report = services().reports.start(caller(), wanted["filter"], wanted.get("output"))
    response, columns = JsonResponse(job(report)), json.dumps(services().reports.columns(report), separators=(",", ":"))
    if len(columns) <= MAX_HEADER_CHARACTERS:
        response.headers["X-Report-Columns"] = columns
    response.headers.extend(ignored_fields(ignored))
    return response


@blueprint.get("/reports")
@Operation(
    "reports",
    {"200": described("A page of reports.", "JobPage")},
    errors=("503",),
    permission="reports",
    query=("status", "limit", "after"),
)
def index() -> Response:
    """The caller's reports, newest first."""
    status, limit = choice("status", STATUSES), number("limit", PAGE_SIZE, MAX_PAGE_SIZE)
    page = services().reports.page(caller(), status=status, limit=limit, after=cursor("after"))
    body = {"reports": [job(report) for report in page.reports]}
    return JsonResponse(body if page.next is None else body | {"next": page.next})


@blueprint.get("/reports/<source>/availability")
@Operation("reports", {"200": JOB}, errors=("404", "503"), permission="reports")
def availability(source: str) -> Response:
    """How a report is getting on, as SDKs ask."""
    return JsonResponse(job(services().reports.get(caller(), source)))


@blueprint.get("/reports/<source>/progress")
@Operation(
    "reports", {"200": described("What is known so far.", "Progress")}, errors=("404", "503"), permission="reports"
)
def show_progress(source: str) -> Response:
    """How far a report is, in numbers."""
    report = services().reports.get(caller(), source)
    return JsonResponse(progress(report, services().reports.place_in_queue(report)))


@blueprint.get("/reports/<source>")
@Operation(
    "reports",
    {"200": described("Where the file is.", "Link"), "302": described_redirect("The same link.")},
    errors=("404", "409", "410", "503"),
    permission="reports",
    description="`Accept` decides: 200 where it allows `application/json`, else 302.",
)
def fetch(source: str) -> Response:
    """A link to a report's file: in JSON where the client takes JSON, else by redirect."""
    link = services().reports.link(services().reports.get(caller(), source), by=caller())
    # Accept may name JSON with parameters, such as a charset, which are ignored.
    accepted = [(kind.partition(";")[0].strip(), quality) for kind, quality in request.accept_mimetypes]
    takes_json = MIMEAccept(accepted).quality(JSON) > 0
    response = JsonResponse({"link": link}) if takes_json else redirect(link, 302)
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.post("/reports/<source>/retry")
@Operation(
    "reports",
    {"200": JOB},
    errors=("404", "409", "503"),
    permission="reports",
    description="A report that failed, timed out or was cancelled runs again, with the snapshot that it had.",
)
def retry(source: str) -> Response:
    """Let a report that ended without a file run again."""
    return JsonResponse(job(services().reports.retry(caller(), services().reports.get(caller(), source))))


@blueprint.delete("/reports/<source>")
@Operation(
    "reports",
    {"204": {"description": "It is done, or there was nothing to do."}},
    errors=("404", "503"),
    permission="reports",
    description="Cancels a report that runs; removes the file of one that is complete. The report stays listed.",
)
def delete(source: str) -> Response:
    """Cancel a report that runs, and remove its file if there is one."""
    services().reports.delete(caller(), services().reports.get(caller(), source))
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response
