"""`/reports`: clients start a report, poll it, and download its file."""

from __future__ import annotations

import json

from flask import Blueprint, Response, current_app, redirect, request
from werkzeug.datastructures import MIMEAccept

from app.api.body import read_json_body
from app.api.headers import ignored_fields
from app.api.query import choice, cursor, number, takes
from app.api.responses import JSON, answer
from app.auth import basic, caller, need
from app.schemas.progress import progress
from app.schemas.reports import STATUSES, ReportRequestSchema, job
from app.services.reports.service import Reports

blueprint = Blueprint("reports", __name__)
PAGE = 100
MAX_PAGE = 1000
MAX_HEADER = 2_000  # characters; nginx accepts 4,096 for all headers together


def _reports() -> Reports:
    return current_app.extensions["services"].reports


@blueprint.post("/reports")
@basic.login_required
def start() -> Response:
    """Accept a report; the job is answered as soon as its row is committed.

    The keys of a job are fixed, so a header lists the columns of its file, unless it would be too long for proxies.
    """
    need("reports")
    with read_json_body() as body:
        wanted, ignored = ReportRequestSchema().load_with_ignored(body)
    report = _reports().start(caller(), wanted["filter"], wanted.get("output"))
    response, columns = answer(job(report)), json.dumps(_reports().columns(report), separators=(",", ":"))
    if len(columns) <= MAX_HEADER:
        response.headers["X-Report-Columns"] = columns
    response.headers.extend(ignored_fields(ignored))
    return response


@blueprint.get("/reports")
@takes("status", "limit", "after")
@basic.login_required
def index() -> Response:
    """The caller's reports, newest first."""
    need("reports")
    page = _reports().page(
        caller(), status=choice("status", STATUSES), limit=number("limit", PAGE, MAX_PAGE), after=cursor("after")
    )
    body = {"reports": [job(report) for report in page.reports]}
    return answer(body if page.next is None else body | {"next": page.next})


@blueprint.get("/reports/<source>/availability")
@basic.login_required
def availability(source: str) -> Response:
    """How a report is getting on, as SDKs ask."""
    need("reports")
    return answer(job(_reports().get(caller(), source)))


@blueprint.get("/reports/<source>/progress")
@basic.login_required
def show_progress(source: str) -> Response:
    """How far a report is, in numbers."""
    need("reports")
    report = _reports().get(caller(), source)
    return answer(progress(report, _reports().place_in_queue(report)))


@blueprint.get("/reports/<source>")
@basic.login_required
def fetch(source: str) -> Response:
    """A link to a report's file: in JSON where the client takes JSON, else by redirect."""
    need("reports")
    link = _reports().link(_reports().get(caller(), source), by=caller())
    response = answer({"link": link}) if _takes_json() else redirect(link, 302)
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.post("/reports/<source>/retry")
@basic.login_required
def retry(source: str) -> Response:
    """Let a report that ended without a file run again."""
    need("reports")
    return answer(job(_reports().retry(caller(), _reports().get(caller(), source))))


@blueprint.delete("/reports/<source>")
@basic.login_required
def delete(source: str) -> Response:
    """Cancel a report that runs, and remove its file if there is one."""
    need("reports")
    _reports().delete(caller(), _reports().get(caller(), source))
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


def _takes_json() -> bool:
    """Return whether Accept allows JSON, ignoring parameters such as a charset."""
    accepted = [(kind.partition(";")[0].strip(), quality) for kind, quality in request.accept_mimetypes]
    return MIMEAccept(accepted).quality(JSON) > 0
