"""Login and logout pages, and the page for the code of the second factor."""

from __future__ import annotations

import re

from flask import flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import PasswordField, StringField

from app import auth
from app.admin.blueprint import blueprint, services
from app.admin.pages import link_to, redirect_with
from app.exceptions import CodeWrong, RateLimited

# Where a user may be redirected after login: a page of this dashboard, never another host, in any spelling.
OWN_PAGE = re.compile(r"/admin/[!-\[\]-~]*")
PARENT = re.compile(r"/(\.|%2e){1,2}(?=[/?#]|$)", re.IGNORECASE)  # a browser treats it as the parent folder
VIA = "the sign-in page"
SIGNED_OUT = "You are signed out."
RECOVERY = "recovery-code"
KEPT_FORMS = "/admin/kept-forms/"  # forms that were sent after the session had ended


class SignInForm(FlaskForm):
    """Form for a user name and password."""

    user = StringField("User")
    password = PasswordField("Password")


class CodeForm(FlaskForm):
    """Form for a code of the second factor."""

    code = StringField("Code")


@blueprint.get("/sign-in")
def sign_in() -> ResponseReturnValue:
    """Show the login form, or redirect a user who is logged in already."""
    if auth.current_principal():
        return redirect(next_page())
    if why := auth.why_signed_out():
        flash(why)
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
    if found is not None and found.has_second_factor:
        auth.await_code(found)
        return redirect(link_to("enter_code", next=request.args.get("next")))
    if found is None or not auth.sign_in(found):
        return render_sign_in(form, "Wrong user name or password."), 401
    return redirect(next_page())


@blueprint.get("/sign-in/code")
def enter_code() -> ResponseReturnValue:
    """Show the form for a code to a browser in which the password was right."""
    if auth.code_awaited() is None:
        return _ask_for_password()
    return _render_code_form(CodeForm(), None)


@blueprint.post("/sign-in/code")
def check_code() -> ResponseReturnValue:
    """Log in with a code of the app, or a recovery code."""
    form, found = CodeForm(), auth.code_awaited()
    if found is None:
        return _ask_for_password()
    code = form.code.data or ""
    try:
        left = services().second_factors.verify(found, code, "the page for the code")
    except RateLimited as error:
        return _render_code_form(form, str(error)), 429, {"Retry-After": str(error.seconds)}
    except CodeWrong as error:
        return _render_code_form(form, str(error)), 401
    if not auth.sign_in(found):  # another sign-in has used the one-time password
        return _ask_for_password()
    if left is None:
        return redirect(next_page())
    return redirect_with(f"{left} recovery {'code is' if left == 1 else 'codes are'} left.", next_page())


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
    wanted = next_page()
    values |= {"next": wanted, "keeps_form": wanted.startswith(f"{request.root_path}{KEPT_FORMS}")}
    return render_template("admin/people/sign_in.html", form=form, wrong=wrong, **values)


def _render_code_form(form: CodeForm, wrong: str | None) -> str:
    is_recovery, wanted = request.args.get("use") == RECOVERY, request.args.get("next")
    other = link_to("enter_code", next=wanted, use=None if is_recovery else RECOVERY)
    return render_template("admin/people/code.html", form=form, wrong=wrong, is_recovery=is_recovery, other=other)


def _ask_for_password() -> Response:
    if auth.current_principal():
        return redirect(next_page())
    address = link_to("sign_in", next=request.args.get("next"))
    return redirect_with("Sign in again. The code must follow the password within 5 minutes.", address)


def next_page(wanted: str | None = None) -> str:
    """Return the page to show after a sign-in: the wanted one (by default the URL's) if it is of the dashboard."""
    wanted = (request.args.get("next", "") if wanted is None else wanted).removeprefix(request.root_path)
    is_own = OWN_PAGE.fullmatch(wanted) and not PARENT.search(wanted.partition("?")[0])
    return request.root_path + wanted if is_own else link_to("overview")
