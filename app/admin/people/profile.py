"""Profile of the caller: sessions, password, and recent activity."""

from __future__ import annotations

from flask import flash, redirect, render_template, request, url_for
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import PasswordField

from app import auth
from app.admin.blueprint import blueprint, services
from app.admin.people.people import known
from app.admin.people.session_rows import session_rows
from app.auth import caller, open_to_temporary, signed_in
from app.exceptions import AccountInvalid, RateLimited
from app.services.people import audit
from app.services.people.audit import AuditFilter
from app.services.people.passwords import MIN_PASSWORD

ENTRIES = 10
WRONG = "Wrong password."
SAME = "This is your current password. Choose a different one."
VIA = "the page of the own password"


class PasswordForm(FlaskForm):
    """Form for the current password and a new password."""

    old = PasswordField("Current password")
    new = PasswordField("New password")


@blueprint.get("/me")
@signed_in
def me() -> str:
    """Show the caller's profile."""
    who = caller()
    found = audit.page(who, AuditFilter(who=who.name), ENTRIES)
    entries = [entry for entry in found.entries if entry.account == who.id]
    return render_template("admin/people/me.html", sessions=session_rows(who.id), entries=entries, **known())


@blueprint.get("/me/password")
@signed_in
@open_to_temporary
def own_password() -> str:
    """Show the password form."""
    return _form(PasswordForm())


@blueprint.post("/me/password")
@signed_in
@open_to_temporary
def change_own_password() -> Response | tuple[str, int] | tuple[str, int, dict[str, str]]:
    """Change the caller's password, end every other session, and continue this session under a new id."""
    form, who = PasswordForm(), caller()
    old, new = form.old.data or "", form.new.data or ""
    try:
        is_used = who.temporary  # the sign-in that began this session used it up
        if services().login.authenticate(who.name, old, request.remote_addr or "", VIA, used=is_used) is None:
            form.old.errors = [WRONG]
            return _form(form), 400
        if new == old:
            form.new.errors = [SAME]
            return _form(form), 400
        changed = services().accounts.set_password(who.name, new, by=who)
    except RateLimited as error:
        form.old.errors = [str(error)]
        return _form(form), 429, {"Retry-After": str(error.seconds)}
    except AccountInvalid as error:
        form.new.errors = [str(error)]
        return _form(form), 400
    auth.sign_in(changed)
    flash("Your password is changed. You are signed out everywhere else.")
    return redirect(url_for("admin.me"))


def _form(form: PasswordForm) -> str:
    if caller().temporary:
        form.old.label.text = "Temporary password"
    return render_template("admin/people/own_password.html", form=form, least=MIN_PASSWORD)
