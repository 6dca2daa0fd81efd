"""Pages that end one or all sessions of the caller or of another user, after a confirmation."""

from __future__ import annotations

from collections.abc import Sequence

from werkzeug.wrappers import Response

from app import auth
from app.admin.blueprint import services
from app.admin.pages import action, confirm, link_to, page, redirect_with
from app.admin.people.people import find_person
from app.admin.people.session_rows import SessionRow, session_rows
from app.auth import caller
from app.exceptions import SessionUnknown
from app.services.people.principal import Principal


@page("/me/sessions/<int:session>/end")
def confirm_end_own_session(session: int) -> str:
    return _confirm(None, _find_sessions(caller().id, session))


@action("/me/sessions/<int:session>/end")
def end_own_session(session: int) -> Response:
    services().sessions.end(session, caller().id, by=caller())
    return redirect_with("The session is ended.", link_to("me"))


@page("/me/sessions/end")
def confirm_end_other_sessions() -> str:
    return _confirm(None, [row for row in session_rows(caller().id) if not row.is_this])


@action("/me/sessions/end")
def end_other_sessions() -> Response:
    current = auth.current_session()
    number = services().sessions.end_all(caller(), by=caller(), but=current.id if current else 0)
    return redirect_with(f"{number} other {'session' if number == 1 else 'sessions'} ended.", link_to("me"))


@page("/people/<int:key>/sessions/<int:session>/end", "users")
def confirm_end_session(key: int, session: int) -> str:
    person = find_person(key)
    return _confirm(person, _find_sessions(person.id, session))


@action("/people/<int:key>/sessions/<int:session>/end", "users")
def end_session(key: int, session: int) -> Response:
    person = find_person(key)
    services().sessions.end(session, person.id, by=caller())
    return redirect_with(f"The session of {person.name} is ended.", link_to("person", key=person.id))


@page("/people/<int:key>/sessions/end", "users")
def confirm_end_sessions(key: int) -> str:
    person = find_person(key)
    return _confirm(person, session_rows(person.id))


@action("/people/<int:key>/sessions/end", "users")
def end_sessions(key: int) -> Response:
    person = find_person(key)
    number = services().sessions.end_all(person, by=caller())
    message = f"{number} {'session' if number == 1 else 'sessions'} of {person.name} ended."
    return redirect_with(message, link_to("person", key=person.id))


def _confirm(person: Principal | None, ending: Sequence[SessionRow]) -> str:
    back = link_to("person", key=person.id) if person else link_to("me")
    return confirm("admin/people/confirm_end_sessions.html", back, person=person, ending=ending)


def _find_sessions(account: int, session: int) -> list[SessionRow]:
    """Return the user's session whose id is in the URL, as a list.

    Raises:
        SessionUnknown: the user has no session of that id.
    """
    found = [row for row in session_rows(account) if row.session.id == session]
    if not found:
        raise SessionUnknown("There is no such session: it has ended.")
    return found
