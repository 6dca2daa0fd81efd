"""Pages of refused requests: list them, show a request with its invalid events, send it again, or remove it."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from flask import render_template
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response

from app.admin.blueprint import services
from app.admin.events.rejected import SHOWN_CHARACTERS, before_id, counts, list_values
from app.admin.events.rejected_filter import read_query
from app.admin.form_errors import FORM_ERRORS, messages_of, status_of
from app.admin.pages import action, confirm, link_to, page, redirect_with
from app.auth import caller
from app.services.events.resend import ResentRequest, count_contents
from app.services.rows import SEARCHED_REJECTED as SEARCHED

PAGE_SIZE = 50
SHOWN_CODES = 10  # customers and products that are named before a request is sent
SHOWN_EVENTS = 50  # the most rejected events that the page of a request shows


@page("/rejected/by/request", "system")
def rejected_requests() -> ResponseReturnValue:
    """Show the newest refused requests, or those before a given request."""
    query, before = read_query(), before_id()
    found = [] if query.status != 200 else services().rejected.requests(caller(), PAGE_SIZE + 1, before, query.filter)
    values = list_values(found, PAGE_SIZE) | query.values() | {"searched": SEARCHED if query.filter.text else None}
    return render_template("admin/events/rejected_requests.html", rejects=counts(), **values), query.status


@page("/rejected/request/<uuid:uuid>", "system")
def rejected_request(uuid: UUID) -> str:
    return _render_request(uuid)


@page("/rejected/request/<uuid:uuid>/send", "system")
def confirm_send_request(uuid: UUID) -> str:
    """Ask before a request is sent, with what its events are about."""
    found = services().rejected.request(caller(), str(uuid))
    values = {"one": found, "contents": count_contents(found), "most": SHOWN_CODES}
    return confirm("admin/events/confirm_send_request.html", link_to("rejected_request", uuid=uuid), **values)


@action("/rejected/request/<uuid:uuid>/send", "system")
def send_request(uuid: UUID) -> ResponseReturnValue:
    """Resend a refused request as a whole, and show what was stored or what is still invalid."""
    try:
        sent = services().resend.send_request(caller(), str(uuid))
    except FORM_ERRORS as error:
        return _render_request(uuid, messages_of(error)), status_of(error)
    return redirect_with(describe_sent(sent), link_to("rejected_requests"))


@page("/rejected/request/<uuid:uuid>/remove", "system")
def confirm_remove_request(uuid: UUID) -> str:
    found = services().rejected.request(caller(), str(uuid))
    return confirm("admin/events/confirm_remove_request.html", link_to("rejected_request", uuid=uuid), one=found)


@action("/rejected/request/<uuid:uuid>/remove", "system")
def remove_request(uuid: UUID) -> Response:
    services().rejected.discard_request(caller(), services().rejected.request(caller(), str(uuid)))
    return redirect_with("The refused request is removed.", link_to("rejected_requests"))


def describe_sent(sent: ResentRequest) -> str:
    """Return a sentence about the outcome of a request that was resent."""
    events = "1 event is" if sent.events == 1 else f"{sent.events:,} events are"
    if sent.earlier:
        return f"It was stored before, under the same Idempotency-Key: {events} in the batch {sent.batch}, once."
    return f"Stored: {events} in the batch {sent.batch}. The request is no longer in this list."


def _render_request(uuid: UUID, errors: Sequence[str] = ()) -> str:
    request = services().rejected.request(caller(), str(uuid))
    events = services().rejected.members(caller(), request, SHOWN_EVENTS + 1)
    start = services().rejected.start_of_body(request, SHOWN_CHARACTERS)
    values = {"found": events[:SHOWN_EVENTS], "more": len(events) > SHOWN_EVENTS, "shown": SHOWN_CHARACTERS}
    return render_template("admin/events/rejected_request.html", one=request, faults=errors, start=start, **values)
