"""Pages that end one or all sessions of the caller or of another user, after a confirmation."""

from __future__ import annotations

from collections.abc import Sequence

from flask import flash, redirect, render_template, url_for
from werkzeug.wrappers import Response

from app import auth
from app.admin.blueprint import blueprint, services
from app.admin.people.person import one_of
from app.admin.people.session_rows import SessionRow, session_rows
from app.auth import caller, signed_in
from app.exceptions import SessionUnknown
from app.services.people.principal import Principal


@blueprint.get("/me/sessions/<int:session>/end")
@signed_in
def ask_about_own_session(session: int) -> str:
    """Ask for confirmation before one of the caller's sessions ends, and show it."""
    return _ask(None, [_line(caller().id, session)])


@blueprint.post("/me/sessions/<int:session>/end")
@signed_in
def end_own_session(session: int) -> Response:
    """End one of the caller's sessions."""
    services().sessions.end(session, caller().id, by=caller())
    flash("The session is ended.")
    return redirect(url_for("admin.me"))


@blueprint.get("/me/sessions/end")
@signed_in
def ask_about_other_sessions() -> str:
    """Ask for confirmation before the caller's other sessions end, and show them."""
    return _ask(None, [line for line in session_rows(caller().id) if not line.is_this])


@blueprint.post("/me/sessions/end")
@signed_in
def end_other_sessions() -> Response:
    """End all of the caller's sessions except the current one."""
    visit = auth.current_session()
    number = services().sessions.end_all(caller(), by=caller(), but=visit.id if visit else 0)
    flash(f"{number} other {'session' if number == 1 else 'sessions'} ended.")
    return redirect(url_for("admin.me"))


@blueprint.get("/people/<int:key>/sessions/<int:session>/end")
@signed_in
def ask_about_session(key: int, session: int) -> str:
    """Ask for confirmation before a session of a user ends, and show it."""
    one = one_of(key)
    return _ask(one, [_line(one.id, session)])


@blueprint.post("/people/<int:key>/sessions/<int:session>/end")
@signed_in
def end_session(key: int, session: int) -> Response:
    """End a session of a user."""
    one = one_of(key)
    services().sessions.end(session, one.id, by=caller())
    flash(f"The session of {one.name} is ended.")
    return redirect(url_for("admin.person", key=one.id))


@blueprint.get("/people/<int:key>/sessions/end")
@signed_in
def ask_about_sessions(key: int) -> str:
    """Ask for confirmation before all sessions of a user end, and show them."""
    one = one_of(key)
    return _ask(one, session_rows(one.id))


@blueprint.post("/people/<int:key>/sessions/end")
@signed_in
def end_sessions(key: int) -> Response:
    """End all sessions of a user."""
    one = one_of(key)
    number = services().sessions.end_all(one, by=caller())
    flash(f"{number} {'session' if number == 1 else 'sessions'} of {one.name} ended.")
    return redirect(url_for("admin.person", key=one.id))


def _ask(person: Principal | None, ending: Sequence[SessionRow]) -> str:
    back = url_for("admin.person", key=person.id) if person else url_for("admin.me")
    return render_template("admin/people/end_sessions.html", person=person, ending=ending, back=back)


def _line(account: int, session: int) -> SessionRow:
    """Return the user's session whose id is in the URL.

    Raises:
        SessionUnknown: the user has no session of that id.
    """
    found = next((line for line in session_rows(account) if line.session.id == session), None)
    if found is None:
        raise SessionUnknown("There is no such session: it has ended.")
    return found
