"""`/events`: products send events, and users list them."""

from __future__ import annotations

import json

from flask import Blueprint, Response, request

from app.api.body import LINES_TYPE, read_events_body
from app.api.cors import check_origin
from app.api.headers import idempotency_key, of_receipt, prefers_lenient
from app.api.openapi.components import CHANGES_ERROR
from app.api.openapi.operations import JsonObject, Operation, described, described_body
from app.api.query import FILTER, MAX_PAGE_SIZE, MORE, PAGE_SIZE, load_query, number
from app.api.responses import JsonResponse
from app.auth import caller, sent_key, services, unauthorized, verify_again
from app.schemas.events import encode_stored
from app.schemas.reports import EventFilterSchema, FilterSchema
from app.services.events.listing import LATEST
from app.services.events.rejected import Origin
from app.services.rows import EventFilter

blueprint = Blueprint("events", __name__)
STOPPING = "tally.stopping"  # environ key of the event that is set when the process stops; see `ops.web`
CODES = ("customer", "product", "types")
MAX_WAIT_SECONDS = 60
CALLER = "tally.caller"  # environ key with the name of the sender; see `ops.access_log`
FAILURE = "tally.failure"  # environ key of the exception that `hot_path` raised while recording the request

EXAMPLE: JsonObject = {
    "customer": "BARCHART",
    "product": "PORTFOLIO",
    "type": "PORTFOLIO-APPLICATION-LOADED",
    "timestamp": 1793000000000,
    "context": ["user-1", "Overview", None],
}
OTHER_EXAMPLE = EXAMPLE | {"type": "PORTFOLIO-VIEW-OPENED", "timestamp": 1793000000250, "version": "4.2.0"}
LINES: JsonObject = {
    "schema": {"type": "string", "contentMediaType": LINES_TYPE, "description": "One event a line."},
    "examples": {"lines": {"value": f"{json.dumps(EXAMPLE)}\n{json.dumps(OTHER_EXAMPLE)}\n"}},
}


@blueprint.post("/events")
@Operation(
    "events",
    {
        "200": described(
            "The events as stored, in the order sent.",
            {"type": "array", "items": "StoredEvent"},
            *("Preference-Applied", "X-Rejected-Events", "Idempotency-Replayed", "X-Ignored-Fields"),
        )
    },
    errors=("413", "415", "422", "503"),
    query=("key",),
    parameters=("Content-Encoding", "Idempotency-Key", "Prefer"),
    description="200 means committed: on disk. One invalid event, and nothing is stored; with `Prefer: "
    "handling=lenient` the valid ones are, and `sequence` is their place in the request.",
    body=described_body(
        "Events",
        {"object": {"events": [EXAMPLE, OTHER_EXAMPLE]}, "array": [EXAMPLE], "empty": []},
        **{LINES_TYPE: LINES},
    ),
)
def record() -> Response:
    """Store a batch, all of it or nothing unless it asks otherwise, and answer the events as stored."""
    if FAILURE in request.environ:
        raise request.environ.pop(FAILURE)
    check_origin()
    sender = services().admission.authorize(request.remote_addr or "", sent_key())
    if sender is not None:
        request.environ[CALLER] = f"key {sender.name}"
    key, lenient = idempotency_key(), prefers_lenient()
    origin = Origin(request.remote_addr or "", request.headers["X-Request-ID"])
    received = read_events_body()
    with received as body:
        receipt = services().ingest.accept(
            body, origin, lines=received.is_lines, lenient=lenient, key=key, sender=sender
        )
    response = JsonResponse(receipt.answer)
    response.headers.extend(of_receipt(receipt))
    return response


@blueprint.get("/events")
@Operation(
    "events",
    {"200": described("A page of events.", "EventPage")},
    errors=("503",),
    permission="events",
    query=(*FILTER, *MORE, "limit", "after"),
    description="With `value`, a page may have fewer events than `limit`, or none, although `next` says that there "
    "are more: the search for a rare value takes several requests. There are no more without `next`. A `batch` that "
    f"version 1.0 stored is found only among the latest {LATEST:,} events.",
)
def index() -> Response:
    """Events newest first, a page at a time."""
    filter = load_query(EventFilterSchema(partial=True), lists=("types",))
    after = request.args.get("after")
    wanted = services().catalog.event_filter(caller(), filter)
    page = services().listing.page(caller(), wanted, number("limit", PAGE_SIZE, MAX_PAGE_SIZE), after)
    if after is None:  # otherwise the first page has already checked it
        services().catalog.check_known(
            caller(), filter.get("customer"), filter.get("product"), filter.get("types"), place=""
        )
    body = {"events": page.events}
    return JsonResponse(encode_stored(body if page.next is None else body | {"next": page.next}))


@blueprint.get("/events/changes")
@Operation(
    "events",
    {"200": described("Events in the order of acceptance.", "Changes"), "410": CHANGES_ERROR},
    errors=("503",),
    permission="events",
    query=(*CODES, "limit", "after", "wait"),
    description="Send `next` of the answer as `after` of the next request, and every event comes once, also one that "
    "is committed late. `events` may be empty although more follow: `next` has then advanced over others.",
)
def changes() -> Response:
    """Events that were accepted after a cursor, if need be after a wait for them."""
    wanted = EventFilter(**load_query(FilterSchema(partial=True, only=CODES), lists=("types",)))
    limit, after = number("limit", PAGE_SIZE, MAX_PAGE_SIZE), request.args.get("after")
    wait, who = number("wait", 0, MAX_WAIT_SECONDS, 0), caller()
    found = services().changes.read(who, wanted, limit, after, wait, request.environ.get(STOPPING))
    if wait and found.events:
        current = verify_again()  # the wait may have been long
        if current is None:
            return unauthorized(401)
        if current != who:
            found = services().changes.read(current, wanted, limit, after)
    return JsonResponse(encode_stored({"events": found.events, "next": found.next}))
