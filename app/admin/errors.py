"""Error pages: what happened, then what to do. The same code as for the API decides the status."""

from __future__ import annotations

from contextlib import suppress

from flask import Flask, current_app, g, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError

from app import auth
from app.admin.blueprint import ELSEWHERE, blueprint
from app.admin.people.kept_forms import keep_form
from app.exceptions import StoreUnavailable

# A title, and the advice that is shown for each status.
WORDS = {
    400: ("Bad request", "Go back and try again."),
    403: ("No access", "Ask an administrator of this service for access."),
    404: ("Page not found", "The address is mistyped, or the page was removed."),
    405: ("Not possible here", "Go back and try again."),
    409: ("The file is not available", "The report's page shows its state."),
    410: ("The file is no longer available", "Run the report again to create a new one."),
    429: ("Too many attempts", "Wait a moment, then try again."),
    413: ("Too much data", "Go back and send less."),
    503: ("Temporarily unavailable", "Nothing is lost. Reload the page in a moment."),
    500: ("Internal error", "The log has the details under the id below. Try again in a minute."),
}
UNKEPT = (
    "This page was opened over http, but PUBLIC_URL is {url}: the browser keeps no session without TLS. Open {url} "
    "instead, or ask the operator to set PUBLIC_URL to the address that people use."
)
FORGED = "Your session has ended. Sign in and submit the form again."


def register(app: Flask) -> None:
    """Serve error pages instead of the API's errors for the paths of the dashboard."""
    app.extensions["error_page"] = page


def page(status: int, message: str | None = None) -> tuple[str, int]:
    """Return the page for an error.

    Args:
        message: a sentence for people that says more than the status, if there is one.
    """
    title, advice = WORDS.get(status, WORDS[500 if status >= 500 else 400])
    if "principal" not in g and status < 500:  # a page that does not exist still shows the left bar
        with suppress(StoreUnavailable):
            g.principal = auth.current_principal()
    back = request.root_path + request.path if request.method == "GET" else None
    return render_template(
        "admin/error.html", status=status, title=title, message=message, advice=advice, back=back
    ), status


@blueprint.errorhandler(CSRFError)
def _forged(error: CSRFError) -> ResponseReturnValue:
    if error.description == ELSEWHERE:
        return page(400, ELSEWHERE)
    if _is_unkept():
        return page(400, UNKEPT.format(url=current_app.config["SETTINGS"].base_url))
    return keep_form() or page(400, FORGED)


def _is_unkept() -> bool:
    """Return whether the browser has no session because its cookie requires TLS and the page came without TLS.

    The browser's own headers take precedence, because the proxy that terminates TLS may not be a trusted one.
    """
    config, origin = current_app.config, request.headers.get("Origin", "")
    is_plain = origin.startswith("http://") if "://" in origin else not request.is_secure
    name = current_app.session_interface.get_cookie_name(current_app)
    return is_plain and config["SESSION_COOKIE_SECURE"] and name not in request.cookies
