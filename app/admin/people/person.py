"""Page of a user: role and customers, password, sessions, and removal."""

from __future__ import annotations

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from app.admin.blueprint import blueprint, services
from app.admin.people.people import KINDS, PERSON, PROGRAM, RightsForm, known, lines_of
from app.admin.people.session_rows import session_rows
from app.auth import caller, need, sign_out, signed_in
from app.exceptions import AccountInvalid, AccountUnknown, Forbidden
from app.services.people.accounts import temporary_password
from app.services.people.principal import Principal


@blueprint.get("/people/<int:key>")
@signed_in
def person(key: int) -> str:
    """Show a user, with forms for what can be changed."""
    one = one_of(key)
    return _page(one, RightsForm(role=one.role, customers="\n".join(one.customers or ())))


@blueprint.post("/people/<int:key>")
@signed_in
def change_person(key: int) -> Response | tuple[str, int]:
    """Change a user's role or customers."""
    one, form = one_of(key), RightsForm()
    try:
        services().accounts.change(one, form.role.data or "", lines_of(form.customers), by=caller())
    except AccountUnknown:  # another user removed the account in the meantime, which is not an error in the form
        raise
    except AccountInvalid as error:
        return _page(one, form, str(error)), 400
    except Forbidden as error:
        return _page(one, form, str(error)), 403
    flash("Saved. Applies at once, also to open sessions.")
    if one.id == caller().id and not services().accounts.get(one.id).may("users"):
        return redirect(url_for("admin.overview"))
    return redirect(url_for("admin.person", key=one.id))


@blueprint.get("/people/<int:key>/password")
@signed_in
def ask_password(key: int) -> str | Response:
    """Ask for confirmation before a user's password is reset, and show what is lost."""
    one = one_of(key)
    if one.id == caller().id:
        return redirect(url_for("admin.own_password"))
    return render_template(
        "admin/people/reset_password.html", person=one, sessions=session_rows(one.id), chosen=PERSON, **known()
    )


@blueprint.post("/people/<int:key>/password")
@signed_in
def reset_password(key: int) -> str | Response:
    """Reset a user's password and show the new password once."""
    one = one_of(key)
    if one.id == caller().id:
        return redirect(url_for("admin.own_password"))
    password, kind = temporary_password(), request.form.get("kind")
    temporary = kind not in KINDS or kind != PROGRAM
    services().accounts.set_password(one.name, password, temporary=temporary, by=caller())
    changed = services().accounts.get(one.id, by=caller())
    return render_template(
        "admin/people/password_shown.html", person=changed, password=password, is_new=False, **known()
    )


@blueprint.get("/people/<int:key>/remove")
@signed_in
def remove_person(key: int) -> str:
    """Ask for confirmation before a user is removed, and show what is lost."""
    one = one_of(key)
    return render_template("admin/people/remove_person.html", person=one, sessions=session_rows(one.id), **known())


@blueprint.post("/people/<int:key>/remove")
@signed_in
def end_person(key: int) -> Response | tuple[str, int]:
    """Remove a user."""
    one = one_of(key)
    try:
        services().accounts.remove(one.name, by=caller())
    except AccountUnknown:
        raise
    except AccountInvalid as error:
        told = {"person": one, "sessions": session_rows(one.id), "wrong": str(error)}
        return render_template("admin/people/remove_person.html", **told, **known()), 400
    if one.id == caller().id:
        sign_out()
        return redirect(url_for("admin.sign_in"))
    flash(f"{one.name} is removed.")
    return redirect(url_for("admin.people"))


def _page(one: Principal, form: RightsForm, wrong: str | None = None) -> str:
    return render_template(
        "admin/people/person.html", person=one, form=form, wrong=wrong, sessions=session_rows(one.id), **known()
    )


def one_of(key: int) -> Principal:
    """Return the user whose id is in the URL, if the caller may change users.

    Raises:
        AccountUnknown: there is no such user.
        Forbidden: the caller may not change users, or the user may see more than the caller.
    """
    need("users")
    return services().accounts.get(key, by=caller())
