"""Display values of a session: its browser, its address, and when it began."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.admin.blueprint import services
from app.auth import current_session
from app.services.rows import Session

# Parts of a User-Agent header, and the common name for each; the first match counts.
BROWSERS = {"Edg": "Edge", "OPR/": "Opera", "Firefox/": "Firefox", "Chrome/": "Chrome", "Safari/": "Safari"}
SYSTEMS = {
    "Windows": "Windows",
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Mac OS X": "macOS",
    "Linux": "Linux",
}
SHOWN_CHARACTERS = 40


@dataclass(frozen=True)
class SessionRow:
    """Session, ready to be shown.

    Attributes:
        session: the database row, for values that are shown unchanged.
        is_this: whether it is the session of the current request.
    """

    session: Session
    browser: str
    is_this: bool


def session_rows(account: int) -> list[SessionRow]:
    """Return a user's sessions, last seen first."""
    current = current_session()
    current_id = current.id if current else 0
    return [SessionRow(one, browser(one.agent), one.id == current_id) for one in services().sessions.of(account)]


def browser(agent: str) -> str:
    """Return the common name of a User-Agent: Firefox on Windows."""
    name, system = _first_match(BROWSERS, agent), _first_match(SYSTEMS, agent)
    if name is None:
        return agent[:SHOWN_CHARACTERS] or "Unknown"
    return f"{name} on {system}" if system else name


def _first_match(names: Mapping[str, str], text: str) -> str | None:
    return next((name for part, name in names.items() if part in text), None)
