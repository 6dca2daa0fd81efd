"""Pages of users: list, add and remove them, change their role, customers and password."""

from __future__ import annotations

from flask import redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import StringField

from app.admin.blueprint import services
from app.admin.form_errors import FORM_ERRORS, status_of
from app.admin.lines_field import LinesField
from app.admin.pages import Values, action, confirm, link_to, live_page, page, redirect_with
from app.admin.people.session_rows import session_rows
from app.admin.unknown_codes import point_out_unknown
from app.auth import caller, sign_out
from app.exceptions import AccountInvalid, AccountUnknown
from app.services.people.accounts import TEMPORARY_DAYS, temporary_password
from app.services.people.principal import ADMIN, ANALYST, OPERATOR, Principal

ROLES = {
    ADMIN: ("Admin", "Can see and do everything, including users and keys"),
    OPERATOR: ("Operator", "Can see and do everything except users and keys"),
    ANALYST: ("Analyst", "Can see events and reports of assigned customers"),
}
PERSON, PROGRAM = "person", "program"
KINDS = {
    PERSON: ("A person", f"A temporary password: one sign-in within {TEMPORARY_DAYS} days, then they choose their own"),
    PROGRAM: ("A program", "A permanent password, for the API"),
}


class RightsForm(FlaskForm):
    """Form for a user's role and customers."""

    role = StringField("Role", default=ANALYST)
    customers = LinesField("Customers")
    mail = StringField("Mail address")


class PersonForm(RightsForm):
    """Form for a new user."""

    name = StringField("Name")
    kind = StringField("Account type", default=PERSON)


# What all pages about users need.
SHARED_VALUES: Values = {"roles": ROLES, "kinds": KINDS, "days": TEMPORARY_DAYS}


@live_page("/people", "users", "admin/people/people.html")
def people() -> Values:
    sessions = services().sessions.numbers()
    everyone = services().accounts.everyone(by=caller())
    return SHARED_VALUES | {"lines": [{"person": user, "sessions": sessions.get(user.id, [])} for user in everyone]}


@page("/people/new", "users")
def new_person() -> str:
    return render_template("admin/people/new_person.html", form=PersonForm(), wrong=None, **SHARED_VALUES)


@action("/people/new", "users")
def add_person() -> ResponseReturnValue:
    """Add a user and show the password once, which is why the response is a page rather than a redirect."""
    form, password = PersonForm(), temporary_password()
    name, role, customers = form.name.data or "", form.role.data or "", form.customers.lines
    mail, temporary = form.mail.data or "", form.kind.data != PROGRAM
    try:
        made = services().accounts.add(name, role, customers, password, mail=mail, temporary=temporary, by=caller())
    except FORM_ERRORS as error:
        values = SHARED_VALUES | {"form": form, "wrong": str(error)}
        return render_template("admin/people/new_person.html", **values), status_of(error)
    point_out_unknown(customers)
    return _show_password(made, password, is_new=True)


@page("/people/<int:key>", "users")
def person(key: int) -> str:
    """Show a user, with forms for what can be changed."""
    found = find_person(key)
    mail = services().accounts.mail(found)
    form = RightsForm(role=found.role, customers="\n".join(found.customers or ()), mail=mail)
    return _render_person(found, form)


@action("/people/<int:key>", "users")
def change_person(key: int) -> ResponseReturnValue:
    """Change a user's role, customers and mail address; of a user of the identity provider, the address only."""
    found, form = find_person(key), RightsForm()
    try:
        if found.is_external and "role" not in request.form:
            services().accounts.set_mail(found, form.mail.data or "", by=caller())
        else:
            role, customers = form.role.data or "", form.customers.lines
            services().accounts.change(found, role, customers, mail=form.mail.data, by=caller())
            point_out_unknown(customers)
    except AccountUnknown:  # another user removed the account in the meantime, which is not an error in the form
        raise
    except FORM_ERRORS as error:
        return _render_person(found, form, str(error)), status_of(error)
    lost_access = found.id == caller().id and not services().accounts.get(found.id).may("users")
    address = link_to("overview") if lost_access else link_to("person", key=found.id)
    return redirect_with("Saved. Applies at once, also to open sessions.", address)


@page("/people/<int:key>/password", "users")
def confirm_reset_password(key: int) -> ResponseReturnValue:
    found = find_person(key)
    if found.id == caller().id:
        return redirect(link_to("own_password"))
    if found.is_external:
        return redirect(link_to("person", key=found.id))
    return _confirm("admin/people/confirm_reset_password.html", found, chosen=PERSON)


@action("/people/<int:key>/password", "users")
def reset_password(key: int) -> ResponseReturnValue:
    """Reset a user's password and show the new password once."""
    found = find_person(key)
    if found.id == caller().id:
        return redirect(link_to("own_password"))
    if found.is_external:
        return redirect(link_to("person", key=found.id))
    password, kind = temporary_password(), request.form.get("kind")
    temporary = kind not in KINDS or kind != PROGRAM
    services().accounts.set_password(found.name, password, temporary=temporary, by=caller())
    return _show_password(services().accounts.get(found.id, by=caller()), password, is_new=False)


@page("/people/<int:key>/deactivate", "users")
def confirm_deactivate(key: int) -> str:
    return _confirm("admin/people/confirm_deactivate.html", find_person(key))


@action("/people/<int:key>/deactivate", "users")
def deactivate(key: int) -> ResponseReturnValue:
    found = find_person(key)
    try:
        services().accounts.deactivate(found.name, by=caller())
    except AccountUnknown:
        raise
    except AccountInvalid as error:
        return _confirm("admin/people/confirm_deactivate.html", found, wrong=str(error)), status_of(error)
    return redirect_with(f"{found.name} is deactivated.", link_to("person", key=found.id))


@action("/people/<int:key>/activate", "users")
def activate(key: int) -> ResponseReturnValue:
    found = find_person(key)
    if not found.is_active:
        services().accounts.activate(found.name, by=caller())
    return redirect_with(f"{found.name} is active.", link_to("person", key=found.id))


@page("/people/<int:key>/remove", "users")
def confirm_remove_person(key: int) -> str:
    return _confirm("admin/people/confirm_remove_person.html", find_person(key))


@action("/people/<int:key>/remove", "users")
def remove_person(key: int) -> ResponseReturnValue:
    found = find_person(key)
    try:
        services().accounts.remove(found.name, by=caller())
    except AccountUnknown:
        raise
    except AccountInvalid as error:
        return _confirm("admin/people/confirm_remove_person.html", found, wrong=str(error)), status_of(error)
    if found.id == caller().id:
        sign_out()
        return redirect(link_to("sign_in"))
    return redirect_with(f"{found.name} is removed.", link_to("people"))


def find_person(key: int) -> Principal:
    """Return the user whose id is in the URL.

    Raises:
        AccountUnknown: there is no such user.
        Forbidden: the user may see more than the caller.
    """
    return services().accounts.get(key, by=caller())


def _confirm(template: str, found: Principal, **values: object) -> str:
    sessions = session_rows(found.id)
    back = link_to("person", key=found.id)
    return confirm(template, back, person=found, sessions=sessions, **SHARED_VALUES, **values)


def _render_person(found: Principal, form: RightsForm, wrong: str | None = None) -> str:
    values = SHARED_VALUES | {"person": found, "form": form, "wrong": wrong, "sessions": session_rows(found.id)}
    values |= {"is_way_back": services().accounts.is_way_back(found.id)}
    return render_template("admin/people/person.html", **values)


def _show_password(found: Principal, password: str, *, is_new: bool) -> str:
    values = SHARED_VALUES | {"person": found, "password": password, "is_new": is_new}
    return render_template("admin/people/password_shown.html", **values)
