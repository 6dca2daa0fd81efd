"""Download of what the page Events shows."""

from __future__ import annotations

from flask import Response, request

from app.admin.blueprint import services
from app.admin.events.events import EventsQuery, until_now
from app.admin.pages import page
from app.auth import caller


@page("/events/download", "events")
def download_events() -> Response:
    """Return the events of the query as CSV, latest first, without its page."""
    query = EventsQuery(request.args)
    wanted = services().catalog.event_filter(caller(), until_now(query.filter()))
    file = services().event_downloads.open(caller(), wanted, query.texts.get("text"), query.without_page())
    headers = {"Content-Disposition": f"attachment; filename={file.name}", "Cache-Control": "no-store"}
    return Response(file, mimetype="text/csv", headers=headers)
