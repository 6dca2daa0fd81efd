"""Pages of the second factor: set it up, replace the recovery codes, turn it off, and reset that of another user."""

from __future__ import annotations

import functools
from collections.abc import Callable

import segno
from flask import redirect, render_template, request, session
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from markupsafe import Markup
from werkzeug.wrappers import Response
from wtforms import PasswordField, StringField

from app import auth
from app.admin.blueprint import services
from app.admin.pages import action, confirm, link_to, page, redirect_with
from app.admin.people.people import find_person
from app.auth import caller, open_without_second_factor
from app.exceptions import AccountInvalid, CodeWrong, RateLimited
from app.services.people.principal import Principal

SALT = "second factor"  # key in the session: the salt of the second factor that is being set up
VIA = "the pages of the second factor"
GROUP = 4  # characters of the secret, for people who type it
Refusal = tuple[int, dict[str, str]]  # status and headers with which a form is shown again


class SecondFactorForm(FlaskForm):
    """Form for a code and the current password."""

    code = StringField("Code")
    password = PasswordField("Current password")


@page("/me/second-factor")
@open_without_second_factor
def set_up_second_factor() -> ResponseReturnValue:
    has_none = not caller().has_second_factor and not caller().is_external
    return _render_set_up(SecondFactorForm()) if has_none else redirect(link_to("me"))


@action("/me/second-factor", has_secrets=True)
@open_without_second_factor
def turn_on_second_factor() -> ResponseReturnValue:
    """Turn on the second factor, end all other sessions, and show the recovery codes once."""
    form, who = SecondFactorForm(), caller()
    refusal = _check_password(form, who)
    if refusal:
        return _render_set_up(form), *refusal
    try:
        changed, codes = services().second_factors.turn_on(who, _salt(), form.code.data or "")
    except CodeWrong as error:
        form.code.errors = [str(error)]
        return _render_set_up(form), 400
    except AccountInvalid:  # turned on in another browser meanwhile
        return redirect(link_to("me"))
    auth.sign_in(changed)
    return render_template("admin/people/recovery_codes.html", codes=codes)


def _if_turned_on(view: Callable[[], ResponseReturnValue]) -> Callable[[], ResponseReturnValue]:
    """Redirect a user without a second factor to their page."""

    @functools.wraps(view)
    def guarded() -> ResponseReturnValue:
        return view() if caller().has_second_factor else redirect(link_to("me"))

    return guarded


@page("/me/second-factor/codes")
@_if_turned_on
def confirm_replace_recovery_codes() -> ResponseReturnValue:
    return _confirm("replace_recovery_codes", SecondFactorForm())


@action("/me/second-factor/codes", has_secrets=True)
@_if_turned_on
def replace_recovery_codes() -> ResponseReturnValue:
    """Replace the recovery codes, and show the new ones once."""
    form, who = SecondFactorForm(), caller()
    refusal = _check_code(form, who)
    if refusal:
        return _confirm("replace_recovery_codes", form), *refusal
    codes = services().second_factors.replace_recovery_codes(who)
    return render_template("admin/people/recovery_codes.html", codes=codes)


@page("/me/second-factor/off")
@_if_turned_on
def confirm_turn_off_second_factor() -> ResponseReturnValue:
    return _confirm("turn_off_second_factor", SecondFactorForm())


@action("/me/second-factor/off", has_secrets=True)
@_if_turned_on
def turn_off_second_factor() -> ResponseReturnValue:
    form, who = SecondFactorForm(), caller()
    refusal = _check_password(form, who) or _check_code(form, who)
    if refusal:
        return _confirm("turn_off_second_factor", form), *refusal
    services().second_factors.remove(who, by=who)
    return redirect_with("Your second factor is off.", link_to("me"))


@page("/people/<int:key>/second-factor", "users")
def confirm_reset_second_factor(key: int) -> ResponseReturnValue:
    found = find_person(key)
    if found.id == caller().id or not found.has_second_factor:
        return _leave(found)
    back = link_to("person", key=found.id)
    return confirm("admin/people/confirm_reset_second_factor.html", back, person=found)


@action("/people/<int:key>/second-factor", "users")
def reset_second_factor(key: int) -> Response:
    """Reset the second factor of another user, who can then sign in with the password alone."""
    found = find_person(key)
    if found.id == caller().id or not found.has_second_factor:
        return _leave(found)
    services().second_factors.remove(found, by=caller())
    return redirect_with(f"The second factor of {found.name} is reset.", link_to("person", key=found.id))


def _leave(found: Principal) -> Response:
    """Redirect from a user who has no second factor, or who is the caller and needs a code to turn it off."""
    return redirect(link_to("me") if found.id == caller().id else link_to("person", key=found.id))


def _salt() -> str:
    """Return the salt of the second factor that is being set up in this session."""
    if SALT not in session:
        session[SALT] = services().second_factors.new_salt()
    salt: str = session[SALT]
    return salt


def _check_password(form: SecondFactorForm, who: Principal) -> Refusal | None:
    """Return None if the password is right, otherwise how to refuse it, and attach the error to its field."""
    try:
        found = services().login.authenticate(who.name, form.password.data or "", request.remote_addr or "", VIA)
    except RateLimited as error:
        form.password.errors = [str(error)]
        return 429, {"Retry-After": str(error.seconds)}
    if found is None:
        form.password.errors = ["Wrong password."]
        return 400, {}
    return None


def _check_code(form: SecondFactorForm, who: Principal) -> Refusal | None:
    """Return None if the code is right, otherwise how to refuse it, and attach the error to its field."""
    try:
        services().second_factors.verify(who, form.code.data or "", VIA)
    except RateLimited as error:
        form.code.errors = [str(error)]
        return 429, {"Retry-After": str(error.seconds)}
    except CodeWrong as error:
        form.code.errors = [str(error)]
        return 400, {}
    return None


def _confirm(template: str, form: SecondFactorForm) -> str:
    return confirm(f"admin/people/confirm_{template}.html", link_to("me"), form=form)


def _render_set_up(form: SecondFactorForm) -> str:
    who, salt = caller(), _salt()
    secret = services().second_factors.secret(salt)
    code = segno.make(services().second_factors.uri(who, salt), micro=False)
    image = code.svg_inline(border=4, dark="#000", light="#fff", svgclass="qr", lineclass=None, omitsize=True)
    groups = " ".join(secret[start : start + GROUP] for start in range(0, len(secret), GROUP))
    values = {"image": Markup(image), "secret": groups, "is_required": services().second_factors.must_set_up(who)}  # noqa: S704 - segno's
    return render_template("admin/people/set_up_second_factor.html", form=form, **values)
