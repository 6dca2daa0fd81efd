"""Sign-in and sign-out by way of the identity provider."""

from __future__ import annotations

import structlog
from flask import Flask, Response, abort, jsonify, redirect, request, session
from flask.typing import ResponseReturnValue

from app import auth
from app.admin.blueprint import services
from app.admin.people.sign_in import SignInForm, next_page, render_sign_in
from app.exceptions import ServerFailed, SignInInvalid, SignInRefused
from app.services.people.single_sign_on import CALLBACK, SIGN_IN_MS
from app.support.clock import now

PENDING = "oidc"  # key in the session: begun sign-ins by state, each with its time and the page to show afterwards
MAX_PENDING = 3  # in as many windows of one browser, because a cookie has 4 KB
MAX_NEXT = 400  # characters of that page's address; a longer one leads to the overview
MAX_LOGOUT_BYTES = 64 * 1024
AWAY = "The identity provider does not answer as it should. Try again in a minute, or sign in with a password."
LOST = "This sign-in was begun too long ago, or in another browser. Start again."

log = structlog.get_logger(__name__)


def register(app: Flask) -> None:
    """Add the routes, outside the blueprint, because they have neither pages nor forms of the dashboard."""
    app.add_url_rule("/admin/oidc/sign-in", "begin_at_provider", begin_at_provider)
    app.add_url_rule(CALLBACK, "return_from_provider", return_from_provider)
    app.add_url_rule("/admin/oidc/frontchannel-logout", "frontchannel_logout", frontchannel_logout)
    app.add_url_rule("/admin/oidc/backchannel-logout", "backchannel_logout", backchannel_logout, methods=["POST"])


def begin_at_provider() -> ResponseReturnValue:
    """Redirect to the identity provider."""
    _require_provider()
    wanted = next_page()
    if auth.current_principal():
        return redirect(wanted)
    try:
        state, url = services().single_sign_on.begin()
    except ServerFailed as error:
        return _fail(error, AWAY, 503)
    begun = sorted(_pending().items(), key=lambda item: item[1][0])[1 - MAX_PENDING :]
    session[PENDING] = dict(begun) | {state: [now(), wanted if len(wanted) <= MAX_NEXT else ""]}
    return redirect(url)


def return_from_provider() -> ResponseReturnValue:
    """Begin a session for a user whom the identity provider sends back."""
    _require_provider()
    pending, state = _pending(), request.args.get("state", "")
    _, wanted = pending.pop(state, (0, None))
    session[PENDING] = pending
    if wanted is None:
        return _fail(SignInInvalid(LOST, "unknown state"), LOST, 400)
    if auth.current_principal():  # another window of this browser was faster
        return redirect(next_page(wanted))
    try:
        found = services().single_sign_on.finish(state, request.args, request.remote_addr or "")
    except ServerFailed as error:
        return _fail(error, AWAY, 503)
    except SignInInvalid as error:
        return _fail(error, str(error), 400)
    except SignInRefused as error:
        return _fail(error, str(error), 403)
    auth.sign_in(found.principal, found.provider)
    session[PENDING] = pending  # of other windows, which the new session does not have
    return redirect(next_page(wanted))


def frontchannel_logout() -> ResponseReturnValue:
    """End the sessions of a session of the provider, whose page shows this in a frame. A frame gets no cookie."""
    _require_provider()
    try:
        issuer, sid = request.args.get("iss", ""), request.args.get("sid", "")
        services().single_sign_on.end_by_frame(issuer, sid, request.remote_addr or "")
    except SignInInvalid as error:
        log.warning("sign-out by the identity provider rejected", reason=error.cause)
        return str(error), 400
    return ""


def backchannel_logout() -> tuple[Response, int]:
    """End the sessions that a logout token of the provider names."""
    _require_provider()
    request.max_content_length = MAX_LOGOUT_BYTES
    try:
        services().single_sign_on.end_by_token(request.form.get("logout_token", ""), request.remote_addr or "")
    except (SignInInvalid, ServerFailed) as error:
        log.warning("sign-out by the identity provider rejected", reason=getattr(error, "cause", str(error)))
        answer = jsonify({"error": "invalid_request", "error_description": str(error)})
        return answer, 400 if isinstance(error, SignInInvalid) else 503
    return Response(), 200


def _pending() -> dict[str, tuple[int, str]]:
    """Return the sign-ins that this browser began and may still finish."""
    found = session.get(PENDING)
    begun = found.items() if isinstance(found, dict) else ()
    return {state: (at, wanted) for state, (at, wanted) in begun if at > now() - SIGN_IN_MS}


def _fail(error: Exception, shown: str, status: int) -> tuple[str, int]:
    log.warning("sign-in by the identity provider failed", reason=getattr(error, "cause", str(error)))
    return render_sign_in(SignInForm(), shown, with_password=False), status


def _require_provider() -> None:
    if not services().single_sign_on.is_on:
        abort(404)
