"""Pages that list users and add a user."""

from __future__ import annotations

from flask import render_template
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import StringField

from app.admin.blueprint import services
from app.admin.form_errors import FORM_ERRORS, status_of
from app.admin.lines_field import LinesField
from app.admin.pages import Values, action, live_page, page
from app.auth import caller
from app.services.people.accounts import TEMPORARY_DAYS, temporary_password
from app.services.people.principal import ADMIN, ANALYST, OPERATOR

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


class PersonForm(RightsForm):
    """Form for a new user."""

    name = StringField("Name")
    kind = StringField("Account type", default=PERSON)


# What all pages about users need.
SHARED_VALUES: Values = {"roles": ROLES, "kinds": KINDS, "days": TEMPORARY_DAYS}


@live_page("/people", "users", "admin/people/people.html")
def people() -> Values:
    """Show all users."""
    sessions = services().sessions.numbers()
    everyone = services().accounts.everyone(by=caller())
    return SHARED_VALUES | {"lines": [{"person": user, "sessions": sessions.get(user.id, [])} for user in everyone]}


@page("/people/new", "users")
def new_person() -> str:
    """Show the form for a new user."""
    return render_template("admin/people/new_person.html", form=PersonForm(), wrong=None, **SHARED_VALUES)


@action("/people/new", "users")
def add_person() -> ResponseReturnValue:
    """Add a user and show the password once, which is why the response is a page rather than a redirect."""
    form, password = PersonForm(), temporary_password()
    name, role, customers = form.name.data or "", form.role.data or "", form.customers.lines
    temporary = form.kind.data != PROGRAM
    try:
        made = services().accounts.add(name, role, customers, password, temporary=temporary, by=caller())
    except FORM_ERRORS as error:
        values = SHARED_VALUES | {"form": form, "wrong": str(error)}
        return render_template("admin/people/new_person.html", **values), status_of(error)
    values = SHARED_VALUES | {"person": made, "password": password, "is_new": True}
    return render_template("admin/people/password_shown.html", **values)
