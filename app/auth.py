"""Authentication and authorization: Basic for programs, a session for people, and the check of roles."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import ParamSpec, TypeVar
from urllib.parse import urlsplit

from flask import Flask, Request, Response, current_app, flash, g, redirect, request, session, url_for
from flask.sessions import NullSession, SecureCookieSession, SecureCookieSessionInterface
from flask_httpauth import HTTPBasicAuth
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.datastructures import Authorization
from werkzeug.wrappers import Response as BaseResponse

from app.exceptions import Forbidden, SessionMissing
from app.services import Services
from app.services.people import tokens
from app.services.people.principal import Principal, scope_of
from app.services.people.sessions import CurrentSession, ProviderSession
from app.support.clock import now
from app.support.paths import is_api
from app.support.same_origin import is_cross_site, is_forged_call

TOKEN = "token"  # noqa: S105 - key in the session, which is a signed cookie
CODE_AWAITED = "code awaited"  # the same: of whom, and since when
CODE_SECONDS = 300  # how long after the password the code of the second factor may follow
FORM_TOKEN = "csrf_token"  # noqa: S105 - Flask-WTF's key in the session, and its field in each form
FORM_TOKEN_SALT = "wtf-csrf-token"  # noqa: S105 - the salt with which Flask-WTF signs it
REFRESHES = "X-Tally-Refresh"  # sent by static/live.js when a page refreshes itself without an action of the user

FILES = "/files/"
NAME_DIGITS = 8  # in the cookie's name, to identify the installation

basic = HTTPBasicAuth()
Arguments = ParamSpec("Arguments")
Page = TypeVar("Page")
View = TypeVar("View", bound=Callable[..., object])
_open_to_temporary: set[Callable[..., object]] = set()
_open_without_second_factor: set[Callable[..., object]] = set()


def services() -> Services:
    """Return the services of this process."""
    found: Services = current_app.extensions["services"]
    return found


class PeopleSessions(SecureCookieSessionInterface):
    """Session interface for the pages. API requests use no session.

    Downloads of report files do use it, because the audit log names the user who downloads a file.
    """

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | NullSession | None:
        """Open a session for the pages and downloads; see Flask's."""
        is_program = is_api(request.path) and not request.path.startswith(FILES)
        return self.make_null_session(app) if is_program else super().open_session(app, request)

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        """Create the key on first use, so that read-only commands write no file; see Flask's."""
        app.secret_key = app.secret_key or app.config["SETTINGS"].secret()
        return super().get_signing_serializer(app)

    def get_cookie_name(self, app: Flask) -> str:
        """Return the name of the session cookie, which is unique to the installation.

        Browsers send the cookies of a host to each of its ports. Another installation on the same host would otherwise
        overwrite the cookie and sign users out.
        """
        settings = app.config["SETTINGS"]
        key = app.secret_key if isinstance(app.secret_key, str) else settings.secret()
        own = sha256(f"{key} {settings.base_url}".encode()).hexdigest()[:NAME_DIGITS]
        return f"{super().get_cookie_name(app)}-{own}"

    def get_cookie_secure(self, app: Flask) -> bool:
        """Return True also if a trusted proxy reports that the request came over TLS, regardless of PUBLIC_URL."""
        return super().get_cookie_secure(app) or request.is_secure


def register(app: Flask) -> None:
    """Configure the session cookie. `services.sessions` decides what a session may do and when it expires.

    `PeopleSessions.get_cookie_name` determines the end of the name.
    """
    app.session_interface = PeopleSessions()
    settings = app.config["SETTINGS"]
    secure, path = settings.base_url.startswith("https://"), settings.base_path
    # With the prefix, a browser accepts the cookie only over TLS and, if it applies to all paths, only from this host.
    prefix = ("__Secure-" if path else "__Host-") if secure else ""
    app.config |= {
        "SESSION_COOKIE_NAME": f"{prefix}tally",
        "SESSION_COOKIE_PATH": path or "/",
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_SECURE": secure,
        "SESSION_REFRESH_EACH_REQUEST": False,
        "PERMANENT_SESSION_LIFETIME": settings.session_days * 86_400,
    }


@basic.verify_password
def verify(name: str, password: str) -> Principal | None:
    """Return the user of the credentials of a request: a name and a password, or an API token.

    A password alone is not accepted from a user who has a second factor, or must have one.

    A token is sent as `Bearer`, or as the password of `Basic` with any name, so that existing clients need no change.
    The header is read here, because Flask-HTTPAuth knows one scheme only.

    Raises:
        RateLimited: too many wrong credentials came from the client.
        Forbidden: a page of another site made a browser send them, the password is temporary, or it is not enough.
    """
    address, sent = request.remote_addr or "", sent_token() or ""
    if tokens.is_token(sent):
        principal = tokens.verify(sent, address)
    else:
        given = _credentials(request.headers.get("Authorization"))
        if given is None or given.type != "basic" or not name:
            return None
        principal = services().login.authenticate(name, password, address, "API")
    if principal is None:
        return None
    allowed = current_app.config["SETTINGS"].cors_origins
    if is_forged_call(request.method, request.mimetype, request.headers, _own_hosts(), allowed):
        raise Forbidden(
            "A page of another site sent this request. Send it with Content-Type: application/json and with "
            "credentials that the page itself knows, or have the site added to CORS_ORIGINS."
        )
    if principal.temporary:
        raise Forbidden("This password is for one sign-in. Sign in at /admin/, and choose one of your own.")
    if not principal.token and (principal.has_second_factor or services().second_factors.must_set_up(principal)):
        raise Forbidden(
            "A password alone is not accepted here, because this user has a second factor or must set one up. Send an "
            "API token instead of the password. Create one on your page of the dashboard, or with `tally token add`."
        )
    return principal


def verify_again() -> Principal | None:
    """Return the user of the request's credentials as of now, or None if they are no longer valid; see `verify`."""
    given = _credentials(request.headers.get("Authorization"))
    return verify(given.username or "", given.password or "") if given else None


@basic.error_handler
def unauthorized(status: int) -> Response:
    """Return the 401 that existing clients expect, byte for byte."""
    response = Response('{"message": "Unauthorized"}', 401, content_type="application/json")
    response.headers["WWW-Authenticate"] = "Basic"
    return response


def sent_key() -> str | None:
    """Return what a request has in the place of an ingest key: the bearer token, the Basic user, or the query string.

    The query string is for browsers' beacons, which can set no header. `admission` decides whether it is a valid key.
    """
    return key_in(request.headers.get("Authorization"), request.args.get("key"))


def key_in(header: str | None, otherwise: str | None = None) -> str | None:
    """Return what an Authorization header has in the place of an ingest key, or `otherwise` if it has no such place."""
    given = _credentials(header)
    if given is not None and given.type == "bearer":
        return given.token
    return given.username if given is not None and given.type == "basic" else otherwise


def sent_token() -> str | None:
    """Return the token of a request: the bearer token, or the Basic password."""
    given = _credentials(request.headers.get("Authorization"))
    if given is not None and given.type == "bearer":
        return given.token
    return given.password if given is not None and given.type == "basic" else None


def caller() -> Principal:
    """Return the user who sent this request, for views behind `basic.login_required` or `signed_in`."""
    principal: Principal = g.principal if "principal" in g else basic.current_user()
    return principal


def describe_caller() -> str | None:
    """Return the name of the sender of this request, or None if it is not known."""
    principal: Principal | None = g.get("principal") or basic.current_user()
    if principal is None:
        return None
    return f"token {principal.token} of {principal.name}" if principal.token else f"user {principal.name}"


def need(permission: str) -> None:
    """Require that the caller's role has a permission, and the API token, if one was sent, the scope of the request.

    Raises:
        Forbidden: it does not.
    """
    who = caller()
    scope = scope_of(permission, request.method)
    if not who.has_scope(scope):
        raise Forbidden(f"The API token {who.token} needs the scope {scope}; it has {', '.join(who.scopes or ())}.")
    if not who.may(permission):
        raise Forbidden(f"Your role, {who.role}, may not do this.")


def sign_in(principal: Principal, provider: ProviderSession | None = None) -> bool:
    """Begin a session, perhaps in one of the identity provider, and discard the previous one with its cookie's content.

    Return False if the password was valid for one sign-in and another sign-in has used it.
    """
    earlier = current_session()
    if earlier is not None:
        services().sessions.sign_out(earlier)
    here = replace(principal, address=request.remote_addr or "")
    token = services().sessions.begin(here, request.user_agent.string, provider)
    if token is None:
        return False
    session.clear()
    session.permanent = True
    session[TOKEN] = token
    session[FORM_TOKEN] = f"{secrets.token_hex(20)}.{principal.id}"  # see `form_account`
    for cached in ("current_session", FORM_TOKEN):
        g.pop(cached, None)
    return True


def await_code(principal: Principal) -> None:
    """Remember in the browser that the password was right, so that the code of the second factor may follow.

    This permits nothing else. It expires after CODE_SECONDS, and with the password.
    """
    session[CODE_AWAITED] = [principal.id, principal.password_version, now()]


def code_awaited() -> Principal | None:
    """Return the user whose password was right in this browser, and whose code may follow, or None."""
    key, version, since = session.get(CODE_AWAITED) or (0, "", 0)
    if now() - since >= CODE_SECONDS * 1000:
        return None
    found = services().second_factors.find(key, version)
    return replace(found, address=request.remote_addr or "") if found else None


def sign_out() -> None:
    """End the session, on the server and in the browser."""
    current = current_session()
    if current is not None:
        services().sessions.sign_out(current)
    session.clear()
    g.current_session = None


def form_account() -> int | None:
    """Return the id of the user to whom the page of the sent form was shown, even if the browser has no session.

    The form's signed token contains the id.
    """
    signer = URLSafeTimedSerializer(current_app.secret_key or "", salt=FORM_TOKEN_SALT)
    seconds = current_app.permanent_session_lifetime.total_seconds()
    try:
        token = str(signer.loads(request.form.get(FORM_TOKEN, ""), max_age=int(seconds)))
    except BadData:
        return None
    account = token.rpartition(".")[2]
    return int(account) if "." in token and account.isdecimal() else None


def why_signed_out() -> str | None:
    """Return a sentence about why the browser's session ended. Return None the next time, or without a session."""
    token = session.pop(TOKEN, None)
    return services().sessions.why_ended(token) if isinstance(token, str) else None


def signed_in(view: Callable[Arguments, Page]) -> Callable[Arguments, Page | BaseResponse]:
    """Require a login for a page; otherwise redirect to the login page, which redirects back afterwards.

    A form without a login raises SessionMissing, so that what was typed is kept.

    A user with a temporary password is redirected to the page that replaces it, from all other pages. So is a user
    without the second factor that TOTP_REQUIRED asks for, to the page that sets it up.
    """

    @functools.wraps(view)
    def guarded(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Page | BaseResponse:
        principal = current_principal()
        if principal is None and request.method == "POST":
            raise SessionMissing
        if principal is None:
            if REFRESHES not in request.headers and (why := why_signed_out()):  # a page follows, which shows it
                flash(why)
            back = request.full_path.rstrip("?") if request.method == "GET" else None  # below `base_path`
            return redirect(url_for("admin.sign_in", next=back))
        g.principal = principal
        if principal.temporary and view not in _open_to_temporary:
            return redirect(url_for("admin.own_password"))
        is_open = principal.temporary or view in _open_without_second_factor
        if not is_open and services().second_factors.must_set_up(principal):
            return redirect(url_for("admin.set_up_second_factor"))
        return view(*args, **kwargs)

    return guarded


def open_to_temporary(view: View) -> View:
    """Mark the page on which a user with a temporary password chooses a new password."""
    _open_to_temporary.add(view)
    return view


def open_without_second_factor(view: View) -> View:
    """Mark a page that a user without a required second factor may open."""
    _open_without_second_factor.add(view)
    return view


def current_principal() -> Principal | None:
    """Return the user whose session the request belongs to, or None."""
    current = current_session()
    return current.principal if current else None


def current_session() -> CurrentSession | None:
    """Return the session that the request belongs to, or None. It is looked up once per request."""
    if "current_session" not in g:
        token, address = session.get(TOKEN), request.remote_addr or ""
        g.current_session = None
        if isinstance(token, str):
            g.current_session = services().sessions.find(token, address, acts=REFRESHES not in request.headers)
    found: CurrentSession | None = g.current_session
    return found


def comes_from_elsewhere() -> bool:
    """Return whether a page of another site made a browser send this request."""
    return is_cross_site(request.headers, _own_hosts())


def _own_hosts() -> tuple[str, str]:
    """Return this service's host in the request and in PUBLIC_URL, because a proxy may have changed the first."""
    return request.host, urlsplit(current_app.config["SETTINGS"].base_url).netloc


def _credentials(header: str | None) -> Authorization | None:
    """Return the content of an Authorization header, or None if Werkzeug fails on its non-ASCII characters."""
    try:
        return Authorization.from_header(header)
    except ValueError:
        return None
