"""Pages of refused requests: list them, show a request with its invalid events, send it again, or remove it."""

from __future__ import annotations

import uuid as uuids

from flask import flash, redirect, render_template, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from app.admin.blueprint import blueprint, services
from app.admin.events.rejected import SHOWN_CHARACTERS, counts, key_of
from app.auth import caller, need, signed_in
from app.exceptions import Forbidden, InputInvalid, KeyReused
from app.services.events.rejected import RejectedRequest
from app.services.events.resend import ResentRequest

PAGE = 50
MEMBERS = 50  # the most rejected events that the page of a request shows


@blueprint.get("/rejected/by/request")
@signed_in
def rejected_requests() -> str:
    """Show the newest refused requests, or those before a given request."""
    need("system")
    before = request.args.get("before")
    found = services().rejected.requests(caller(), PAGE + 1, None if before is None else key_of(before))
    more = found[PAGE - 1].id if len(found) > PAGE else None
    known = {"rejects": counts(), "is_first": before is None, "more": more}
    return render_template("admin/events/rejected_requests.html", found=found[:PAGE], **known)


@blueprint.get("/rejected/request/<uuid>")
@signed_in
def rejected_request(uuid: str) -> str:
    """Show a refused request with its invalid events."""
    need("system")
    return _page(_request(uuid))


@blueprint.post("/rejected/request/<uuid>")
@signed_in
def send_request(uuid: str) -> tuple[str, int] | Response:
    """Resend a refused request as a whole, and show what was stored or what is still invalid."""
    need("system")
    try:
        sent = services().resend.send_request(caller(), _uuid(uuid))
    except InputInvalid as error:
        return _page(_request(uuid), *[fault.message for fault in error.field_errors]), 400
    except Forbidden as error:
        return _page(_request(uuid), str(error)), 403
    except KeyReused as error:
        return _page(_request(uuid), str(error)), 422
    flash(describe_sent(sent))
    return redirect(url_for("admin.rejected_requests"))


@blueprint.get("/rejected/request/<uuid>/remove")
@signed_in
def remove_request(uuid: str) -> str:
    """Ask for confirmation before a refused request is removed, and show what is lost."""
    need("system")
    return render_template("admin/events/remove_request.html", one=_request(uuid))


@blueprint.post("/rejected/request/<uuid>/remove")
@signed_in
def end_request(uuid: str) -> Response:
    """Remove a refused request."""
    need("system")
    services().rejected.discard_request(caller(), _request(uuid))
    flash("The refused request is removed.")
    return redirect(url_for("admin.rejected_requests"))


def describe_sent(sent: ResentRequest) -> str:
    """Return a sentence about the outcome of a request that was resent."""
    events = "1 event is" if sent.events == 1 else f"{sent.events:,} events are"
    if sent.earlier:
        return f"It was stored before, under the same Idempotency-Key: {events} in the batch {sent.batch}, once."
    return f"Stored: {events} in the batch {sent.batch}. The request is no longer in this list."


def _page(one: RejectedRequest, *faults: str) -> str:
    found = services().rejected.members(caller(), one, MEMBERS + 1)
    start = services().rejected.start_of_body(one, SHOWN_CHARACTERS)
    known = {"more": len(found) > MEMBERS, "shown": SHOWN_CHARACTERS, "faults": faults, "start": start}
    return render_template("admin/events/rejected_request.html", one=one, found=found[:MEMBERS], **known)


def _request(uuid: str) -> RejectedRequest:
    return services().rejected.request(caller(), _uuid(uuid))


def _uuid(text: str) -> str:
    """Return the UUID in a URL in its canonical form.

    Raises:
        NotFound: the text is not a UUID.
    """
    try:
        return str(uuids.UUID(text))
    except ValueError:
        raise NotFound from None
