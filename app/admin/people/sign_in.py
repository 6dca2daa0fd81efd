"""Login and logout pages."""

from __future__ import annotations

import re

from flask import flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import PasswordField, StringField

from app import auth
from app.admin.blueprint import blueprint, services
from app.admin.pages import link_to, redirect_with
from app.exceptions import RateLimited

# Where a user may be redirected after login: a page of this dashboard, never another host, in any spelling.
OWN_PAGE = re.compile(r"/admin/[!-\[\]-~]*")
PARENT = re.compile(r"/(\.|%2e){1,2}(?=[/?#]|$)", re.IGNORECASE)  # a browser treats it as the parent folder
VIA = "the sign-in page"
SIGNED_OUT = "You are signed out."


class SignInForm(FlaskForm):
    """Form for a user name and password."""

    user = StringField("User")
    password = PasswordField("Password")


@blueprint.get("/sign-in")
def sign_in() -> ResponseReturnValue:
    """Show the login form, or redirect a user who is logged in already."""
    if auth.current_principal():
        return redirect(next_page())
    return render_sign_in(SignInForm(), None, with_password="password" in request.args)


@blueprint.post("/sign-in")
def begin() -> ResponseReturnValue:
    """Log in by a password. The response is the same for an unknown user and a wrong password."""
    form = SignInForm()
    name, password = form.user.data or "", form.password.data or ""
    try:
        found = services().login.authenticate(name, password, request.remote_addr or "", VIA)
    except RateLimited as error:
        return render_sign_in(form, str(error)), 429, {"Retry-After": str(error.seconds)}
    if found is None or not auth.sign_in(found):
        return render_sign_in(form, "Wrong user name or password."), 401
    return redirect(next_page())


@blueprint.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    """End the session and, if it began in one of the identity provider, lead to where that ends, too.

    A page does so rather than a redirect, because `form-action` would stop the browser on its way to another site.
    """
    current = auth.current_session()
    auth.sign_out()
    elsewhere = services().single_sign_on.logout_url(current.id_token) if current and current.id_token else None
    if elsewhere:
        page = render_template("admin/people/leaving.html", elsewhere=elsewhere)
        flash(SIGNED_OUT)  # for the page to which the provider leads back
        return page
    return redirect_with(SIGNED_OUT, link_to("sign_in"))


def render_sign_in(form: SignInForm, wrong: str | None, *, with_password: bool = True) -> str:
    """Return the sign-in page.

    Args:
        wrong: why the last attempt failed.
        with_password: show the form for a password also if passwords are off, for the one admin who has one.
    """
    way = services().single_sign_on
    values = {"single_sign_on": way, "with_password": with_password or not way.is_only_way}
    return render_template("admin/people/sign_in.html", form=form, wrong=wrong, next=next_page(), **values)


def next_page(wanted: str | None = None) -> str:
    """Return the page to show after a sign-in: the wanted one (by default the URL's) if it is of the dashboard."""
    wanted = (request.args.get("next", "") if wanted is None else wanted).removeprefix(request.root_path)
    is_own = OWN_PAGE.fullmatch(wanted) and not PARENT.search(wanted.partition("?")[0])
    return request.root_path + wanted if is_own else link_to("overview")
