"""Pages about mail: one that unsubscribes, without a sign-in, and the test of the mail server."""

from __future__ import annotations

from flask import render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response

from app.admin import errors
from app.admin.blueprint import blueprint, services
from app.admin.pages import action, link_to, redirect_with
from app.auth import caller
from app.exceptions import LinkInvalid


@blueprint.get("/unsubscribe/<token>")
def confirm_unsubscribe(token: str) -> ResponseReturnValue:
    """Ask before unsubscribing, because programs that check mail open its links."""
    try:
        _, schedule = services().mail.subscription(token)
    except LinkInvalid as error:
        return errors.page(404, str(error))
    return render_template("admin/notifications/unsubscribe.html", schedule=schedule, is_done=False)


@blueprint.post("/unsubscribe/<token>")
def unsubscribe(token: str) -> ResponseReturnValue:
    """Unsubscribe, also at once from a mail program (RFC 8058), which has neither a session nor the token of a form.

    The signature in the address is the permission.
    """
    try:
        _, schedule = services().mail.subscription(token)
        services().mail.unsubscribe(token, request.remote_addr or "")
    except LinkInvalid as error:
        return errors.page(404, str(error))
    return render_template("admin/notifications/unsubscribe.html", schedule=schedule, is_done=True)


@action("/system/mail", "system")
def test_mail() -> Response:
    """Send a test to the caller's own address."""
    return redirect_with(services().mail.test(caller()), link_to("system"))
