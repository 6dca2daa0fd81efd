"""Who is asking, and what they may: Basic for programs, a session for people, roles and customers in one place."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

from flask import Flask, Response, current_app, g, redirect, request, session, url_for
from flask_httpauth import HTTPBasicAuth
from werkzeug.datastructures import Authorization

from app.exceptions import Forbidden
from app.services.principal import Principal

basic = HTTPBasicAuth()


def register(app: Flask) -> None:
    """Set up the session's cookie."""
    secure = app.config["SETTINGS"].base_url.startswith("https://")
    app.config |= {
        "SESSION_COOKIE_NAME": "tally",
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_SECURE": secure,
        "PERMANENT_SESSION_LIFETIME": 12 * 3600,
    }


@basic.verify_password
def verify(name: str, password: str) -> Principal | None:
    """Whoever sent these Basic credentials. Flask-HTTPAuth would take any scheme's name, so that is checked here."""
    given = _credentials()
    if given is None or given.type != "basic" or not name:
        return None
    return _from_here(current_app.extensions["services"].accounts.verify(name, password))


@basic.error_handler
def unauthorized(status: int) -> Response:
    """The 401 that clients in the field know, to the letter."""
    response = Response('{"message": "Unauthorized"}', 401, content_type="application/json")
    response.headers["WWW-Authenticate"] = "Basic"
    return response


def sent_key() -> str | None:
    """What a request carries as an ingest key: as a bearer's token, as the user of Basic, or in the address.

    The address is for browsers' beacons, which can set no header. Whether it is one is for the gate to say.
    """
    given = _credentials()
    if given is not None and given.type == "bearer":
        return given.token
    if given is not None and given.type == "basic":
        return given.username
    return request.args.get("key")


def _credentials() -> Authorization | None:
    """What the request's Authorization says; Werkzeug fails on one with other characters than ASCII's."""
    try:
        return request.authorization
    except ValueError:
        return None


def caller() -> Principal:
    """Who sent this request; only behind `basic.login_required` or `signed_in`."""
    return g.principal if "principal" in g else basic.current_user()


def need(permission: str) -> None:
    """Let pass only whose role may do something.

    Raises:
        Forbidden: it may not.
    """
    if not caller().may(permission):
        raise Forbidden(f"Your role, {caller().role}, may not do this.")


def sign_in(principal: Principal) -> None:
    """Begin a session; what was in an older one is gone."""
    session.clear()
    session.permanent = True
    session["user"] = principal.id
    session["key"] = principal.session


def sign_out() -> None:
    """End the session."""
    session.clear()


def signed_in(view: Callable) -> Callable:
    """Let a page be seen by people who signed in; others are asked to, and come back afterwards."""

    @functools.wraps(view)
    def guarded(*args: object, **kwargs: object) -> object:
        principal = current_principal()
        if principal is None:
            back = request.full_path.rstrip("?") if request.method == "GET" else None
            return redirect(url_for("admin.sign_in", next=back))
        g.principal = principal
        return view(*args, **kwargs)

    return guarded


def current_principal() -> Principal | None:
    """Whose session the request belongs to, or None."""
    user, key = session.get("user"), session.get("key")
    if not isinstance(user, int) or not isinstance(key, str):
        return None
    return _from_here(current_app.extensions["services"].accounts.by_session(user, key))


def _from_here(principal: Principal | None) -> Principal | None:
    """With the address of the request: the audit log tells it."""
    return principal and replace(principal, address=request.remote_addr or "")
