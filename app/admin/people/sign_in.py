"""Login and logout pages."""

from __future__ import annotations

import re

from flask import Response, flash, redirect, render_template, request, url_for
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response as AnyResponse
from wtforms import PasswordField, StringField

from app import auth
from app.admin.blueprint import blueprint, services
from app.exceptions import RateLimited

# Where a user may be redirected after login: a page of this dashboard, never another host, in any spelling.
OURS = re.compile(r"/admin/[!-\[\]-~]*")
UP = re.compile(r"/(\.|%2e){1,2}(?=[/?#]|$)", re.IGNORECASE)  # a browser treats it as the parent folder
WRONG = "Wrong user name or password."
VIA = "the sign-in page"


class SignInForm(FlaskForm):
    """Form for a user name and password."""

    user = StringField("User")
    password = PasswordField("Password")


@blueprint.get("/sign-in")
def sign_in() -> str | AnyResponse:
    """Show the login form, or redirect a user who is logged in already."""
    if auth.current_principal():
        return redirect(_next())
    return render_template("admin/people/sign_in.html", form=SignInForm(), wrong=None)


@blueprint.post("/sign-in")
def begin() -> AnyResponse | tuple[str, int] | tuple[str, int, dict[str, str]]:
    """Log in. The response is the same for an unknown user and a wrong password."""
    form = SignInForm()
    try:
        found = services().login.authenticate(
            form.user.data or "", form.password.data or "", request.remote_addr or "", VIA
        )
    except RateLimited as error:
        headers = {"Retry-After": str(error.seconds)}
        return render_template("admin/people/sign_in.html", form=form, wrong=str(error)), 429, headers
    if found is None or not auth.sign_in(found):
        return render_template("admin/people/sign_in.html", form=form, wrong=WRONG), 401
    return redirect(_next())


@blueprint.post("/sign-out")
def sign_out() -> Response:
    """Log out, from any page."""
    auth.sign_out()
    flash("You are signed out.")
    return redirect(url_for("admin.sign_in"))


def _next() -> str:
    wanted = request.args.get("next", "").removeprefix(request.root_path)
    is_ours = OURS.fullmatch(wanted) and not UP.search(wanted.partition("?")[0])
    return request.root_path + wanted if is_ours else url_for("admin.overview")
