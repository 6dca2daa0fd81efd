"""Login and logout pages."""

from __future__ import annotations

import re

from flask import redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import PasswordField, StringField

from app import auth
from app.admin.blueprint import blueprint, services
from app.admin.pages import link_to, redirect_with
from app.exceptions import RateLimited

# Where a user may be redirected after login: a page of this dashboard, never another host, in any spelling.
OWN_PAGE = re.compile(r"/admin/[!-\[\]-~]*")
PARENT = re.compile(r"/(\.|%2e){1,2}(?=[/?#]|$)", re.IGNORECASE)  # a browser treats it as the parent folder
VIA = "the sign-in page"


class SignInForm(FlaskForm):
    """Form for a user name and password."""

    user = StringField("User")
    password = PasswordField("Password")


@blueprint.get("/sign-in")
def sign_in() -> ResponseReturnValue:
    """Show the login form, or redirect a user who is logged in already."""
    if auth.current_principal():
        return redirect(_next_page())
    return _render_form(SignInForm(), None)


@blueprint.post("/sign-in")
def begin() -> ResponseReturnValue:
    """Log in. The response is the same for an unknown user and a wrong password."""
    form = SignInForm()
    name, password = form.user.data or "", form.password.data or ""
    try:
        found = services().login.authenticate(name, password, request.remote_addr or "", VIA)
    except RateLimited as error:
        return _render_form(form, str(error)), 429, {"Retry-After": str(error.seconds)}
    if found is None or not auth.sign_in(found):
        return _render_form(form, "Wrong user name or password."), 401
    return redirect(_next_page())


@blueprint.post("/sign-out")
def sign_out() -> Response:
    auth.sign_out()
    return redirect_with("You are signed out.", link_to("sign_in"))


def _render_form(form: SignInForm, wrong: str | None) -> str:
    return render_template("admin/people/sign_in.html", form=form, wrong=wrong)


def _next_page() -> str:
    wanted = request.args.get("next", "").removeprefix(request.root_path)
    is_own = OWN_PAGE.fullmatch(wanted) and not PARENT.search(wanted.partition("?")[0])
    return request.root_path + wanted if is_own else link_to("overview")
