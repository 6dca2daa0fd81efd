"""Pages that list users and add a user."""

from __future__ import annotations

from flask import render_template
from flask_wtf import FlaskForm
from wtforms import Field, StringField, TextAreaField

from app.admin.blueprint import blueprint, services
from app.auth import caller, need, signed_in
from app.exceptions import AccountInvalid, Forbidden
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
    customers = TextAreaField("Customers")


class PersonForm(RightsForm):
    """Form for a new user."""

    name = StringField("Name")
    kind = StringField("Account type", default=PERSON)


@blueprint.get("/people")
@signed_in
def people() -> str:
    """Show all users."""
    return render_template("admin/people/people.html", **_found())


@blueprint.get("/people/part")
@signed_in
def people_part() -> str:
    """Return the part of the page that refreshes itself."""
    return render_template("admin/people/_people.html", **_found())


@blueprint.get("/people/new")
@signed_in
def new_person() -> str:
    """Show the form for a new user."""
    need("users")
    return _form(PersonForm())


@blueprint.post("/people/new")
@signed_in
def add_person() -> str | tuple[str, int]:
    """Add a user and show the password once, which is why the response is a page rather than a redirect."""
    need("users")
    form, password = PersonForm(), temporary_password()
    temporary = form.kind.data != PROGRAM
    try:
        made = services().accounts.add(
            form.name.data or "",
            form.role.data or "",
            lines_of(form.customers),
            password,
            temporary=temporary,
            by=caller(),
        )
    except AccountInvalid as error:
        return _form(form, str(error)), 400
    except Forbidden as error:
        return _form(form, str(error)), 403
    return render_template("admin/people/password_shown.html", person=made, password=password, is_new=True, **known())


def lines_of(field: Field) -> list[str]:
    """Return the codes of a field that has a code on each line."""
    return [line.strip() for line in (field.data or "").splitlines() if line.strip()]


def known() -> dict[str, object]:
    """Return the texts that all pages about users need."""
    return {"roles": ROLES, "kinds": KINDS, "days": TEMPORARY_DAYS}


def _found() -> dict[str, object]:
    need("users")
    sessions = services().sessions.numbers()
    everyone = services().accounts.everyone(by=caller())
    lines = [{"person": one, "sessions": sessions.get(one.id, [])} for one in everyone]
    return {"lines": lines, **known()}


def _form(form: PersonForm, wrong: str | None = None) -> str:
    return render_template("admin/people/new_person.html", form=form, wrong=wrong, **known())
