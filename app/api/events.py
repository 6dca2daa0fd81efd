"""`/events`: products send events, and users list them."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, request

from app.api.body import read_events_body
from app.api.cors import check_origin
from app.api.headers import idempotency_key, of_receipt, prefers_lenient
from app.api.query import FILTER, load_query, number, takes
from app.api.responses import encoded
from app.auth import basic, caller, need, sent_key
from app.schemas.events import encode_stored
from app.schemas.reports import FilterSchema
from app.services.events.listing import EventFilter
from app.services.events.rejected import Origin

blueprint = Blueprint("events", __name__)
PAGE = 100
MAX_PAGE = 1000
FAILURE = "tally.failure"  # environ key of the exception that `hot_path` raised while recording the request


@blueprint.post("/events")
@takes("key")
def record() -> Response:
    """Store a batch, all of it or nothing unless it asks otherwise, and answer the events as stored."""
    if FAILURE in request.environ:
        raise request.environ.pop(FAILURE)
    check_origin()
    services = current_app.extensions["services"]
    sender = services.admission.authorize(request.remote_addr or "", sent_key())
    key, lenient = idempotency_key(), prefers_lenient()
    origin = Origin(request.remote_addr or "", request.headers["X-Request-ID"])
    received = read_events_body()
    with received as body:
        receipt = services.ingest.accept(body, origin, lines=received.is_lines, lenient=lenient, key=key, sender=sender)
    response = encoded(receipt.answer)
    response.headers.extend(of_receipt(receipt))
    return response


@blueprint.get("/events")
@takes(*FILTER, "limit", "after")
@basic.login_required
def index() -> Response:
    """Events newest first, a page at a time."""
    need("events")
    filter = load_query(FilterSchema(partial=True), lists=("types",))
    services, after = current_app.extensions["services"], request.args.get("after")
    page = services.listing.page(caller(), EventFilter(**filter), number("limit", PAGE, MAX_PAGE), after)
    if after is None:  # otherwise the first page has already checked it
        named = (filter.get(name) for name in ("customer", "product", "types"))
        services.catalog.check_known(caller(), *named, place="")
    body = {"events": page.events}
    return encoded(encode_stored(body if page.next is None else body | {"next": page.next}))
