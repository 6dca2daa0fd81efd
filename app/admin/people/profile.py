"""Profile of the caller: sessions, password, and recent activity."""

from __future__ import annotations

from flask import redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import PasswordField, StringField

from app import auth
from app.admin.blueprint import services
from app.admin.pages import action, link_to, page, redirect_with
from app.admin.people.people import SHARED_VALUES
from app.admin.people.saved_views import view_rows
from app.admin.people.session_rows import session_rows
from app.admin.people.tokens import token_rows
from app.auth import caller, open_to_temporary
from app.exceptions import AccountInvalid, Forbidden, RateLimited
from app.services.people import audit, saved_views, tokens
from app.services.people.passwords import MIN_PASSWORD
from app.services.rows import AuditFilter

SHOWN_ENTRIES = 10
VIA = "the page of the own password"


class PasswordForm(FlaskForm):
    """Form for the current password and a new password."""

    old = PasswordField("Current password")
    new = PasswordField("New password")


class MailForm(FlaskForm):
    """Form for the own mail address."""

    mail = StringField("Mail address")


@page("/me")
def me() -> str:
    return _render_profile(MailForm(mail=services().accounts.mail(caller())))


@action("/me/mail")
def change_own_mail() -> ResponseReturnValue:
    """Change the caller's mail address. That of a user of the identity provider comes from there."""
    form, who = MailForm(), caller()
    if who.is_external:
        raise Forbidden("Your mail address comes from the identity provider.")
    try:
        services().accounts.set_mail(who, form.mail.data or "", by=who)
    except AccountInvalid as error:
        form.mail.errors = [str(error)]
        return _render_profile(form), 400
    return redirect_with("Your mail address is saved.", link_to("me"))


def _render_profile(form: MailForm) -> str:
    who = caller()
    found = audit.page(who, AuditFilter(who=who.name), SHOWN_ENTRIES)
    entries = [entry for entry in found.entries if entry.account == who.id]
    values = SHARED_VALUES | {"sessions": session_rows(who.id), "tokens": token_rows(tokens.of(who))}
    values |= {"views": view_rows(saved_views.of(who))}
    values |= {"codes_left": services().second_factors.recovery_codes_left(who)}
    return render_template("admin/people/me.html", form=form, entries=entries, **values)


@page("/me/password")
@open_to_temporary
def own_password() -> ResponseReturnValue:
    return redirect(link_to("me")) if caller().is_external else _render_form(PasswordForm())


@action("/me/password", has_secrets=True)
@open_to_temporary
def change_own_password() -> ResponseReturnValue:
    """Change the caller's password, end every other session, and continue this session under a new id."""
    form, who = PasswordForm(), caller()
    old, new = form.old.data or "", form.new.data or ""
    try:
        is_used = who.temporary  # the sign-in that began this session used it up
        if services().login.authenticate(who.name, old, request.remote_addr or "", VIA, used=is_used) is None:
            form.old.errors = ["Wrong password."]
            return _render_form(form), 400
        if new == old:
            form.new.errors = ["This is your current password. Choose a different one."]
            return _render_form(form), 400
        changed = services().accounts.set_password(who.name, new, by=who)
    except RateLimited as error:
        form.old.errors = [str(error)]
        return _render_form(form), 429, {"Retry-After": str(error.seconds)}
    except AccountInvalid as error:
        form.new.errors = [str(error)]
        return _render_form(form), 400
    auth.sign_in(changed)
    return redirect_with("Your password is changed. You are signed out everywhere else.", link_to("me"))


def _render_form(form: PasswordForm) -> str:
    if caller().temporary:
        form.old.label.text = "Temporary password"
    return render_template("admin/people/own_password.html", form=form, least=MIN_PASSWORD)
